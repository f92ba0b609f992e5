public import Torch

/// Keys and values of the tokens that a generation has seen, for several sequences at once.
///
/// Every layer has two tensors `[sequences, capacity, G, d]`. A pass writes the keys and values of
/// its tokens at `slots` (sequence * capacity + position). In the first pass (`prefill`) samples of
/// the pack are the sequences and attention is the pack's own; later passes hold one new token a
/// sequence, which attends to everything cached.
public final class KeyValueCache {
  /// What the current pass does.
  public enum Pass {
    /// The prompts, packed.
    case prefill
    /// One token a sequence; `mask` `[sequences, 1, 1, length]` is true where a key is visible.
    case decode(mask: Tensor, length: Int)
  }

  /// The number of sequences.
  public let sequenceCount: Int
  /// The longest sequence that fits, in tokens.
  public let capacity: Int
  /// Where the tokens of this pass are written, `[T]` int64.
  public var slots: Tensor
  /// What this pass does.
  public var pass: Pass

  private var layers: [String: (key: Tensor, value: Tensor)] = [:]

  /// An empty cache; memory is taken when a layer first writes.
  public init(sequenceCount: Int, capacity: Int, slots: Tensor) {
    self.sequenceCount = sequenceCount
    self.capacity = capacity
    self.slots = slots
    self.pass = .prefill
  }

  /// Writes keys and values, `[T, G, d]`, of the pass and returns everything cached for `layer`,
  /// `[sequences, capacity, G, d]`.
  func write(key: Tensor, value: Tensor, layer: String) -> (key: Tensor, value: Tensor) {
    let entry = layers[layer] ?? (makeStorage(like: key), makeStorage(like: value))
    layers[layer] = entry
    for (store, new) in [(entry.key, key), (entry.value, value)] {
      let rows = store.view([sequenceCount * capacity, new.size(1), new.size(2)])
      rows.copyRows(dim: 0, index: slots, source: new)
    }
    return entry
  }

  private func makeStorage(like tensor: Tensor) -> Tensor {
    Tensor.zeros(
      [sequenceCount, capacity, tensor.size(1), tensor.size(2)], dtype: tensor.dtype,
      device: tensor.device)
  }
}
