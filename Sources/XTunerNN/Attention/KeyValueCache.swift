public import Torch

// Shape legend for this file:
//   S sequences   C capacity   G key-value heads   d head size   T tokens of a pass   N longest sequence

/// Keys and values of the tokens that a generation has seen, for several sequences at once.
///
/// Every layer has two tensors `[S, G, C, d]`, so that the keys of a head are one matrix. The first
/// pass (`prefill`) is a pack whose samples are the sequences and attention is the pack's own; each
/// ``advance()`` begins a pass of one new token a sequence, which attends to everything cached.
public final class KeyValueCache {
  /// What the current pass does.
  public enum Pass: Sendable, Equatable {
    /// The prompts, packed.
    case prefill
    /// One token a sequence.
    case decode
  }

  /// Tokens of each sequence, those of the current pass included.
  public private(set) var lengths: [Int]
  /// The longest sequence that fits without taking more memory, in tokens.
  public private(set) var capacity: Int
  /// What this pass does.
  public private(set) var pass = Pass.prefill

  private let device: Device
  private var layers: [String: (key: Tensor, value: Tensor)] = [:]  // own names
  /// Where the tokens of this pass are written, by the number of key-value heads: `[T G]` int64.
  private var rowIndices: [Int: Tensor] = [:]
  /// What the queries of this pass see, by window (0 for none).
  private var masks: [Int: Tensor?] = [:]

  /// An empty cache for sequences whose prompts have `promptLengths` tokens; memory is taken when a
  /// layer first writes.
  public init(promptLengths: [Int], capacity: Int, device: Device = .cpu) {
    precondition(
      promptLengths.allSatisfy { (1...capacity).contains($0) },
      "prompts of \(promptLengths) tokens do not fit a capacity of \(capacity)")
    self.lengths = promptLengths
    self.capacity = capacity
    self.device = device
  }

  /// The number of sequences.
  public var sequenceCount: Int { lengths.count }

  /// The longest sequence, in tokens.
  public var longestLength: Int { lengths.max() ?? 0 }

  /// Begins a pass of one token a sequence, behind those already there.
  ///
  /// Memory for all layers is doubled when a sequence is full, up to `maximumCapacity` tokens.
  public func advance(maximumCapacity: Int = .max) {
    pass = .decode
    for index in lengths.indices { lengths[index] += 1 }
    precondition(
      longestLength <= maximumCapacity,
      "a sequence of \(longestLength) tokens passes the limit of \(maximumCapacity)")
    if longestLength > capacity { grow(to: min(max(2 * capacity, longestLength), maximumCapacity)) }
    rowIndices = [:]
    masks = [:]
  }

  /// Forgets all sequences but those at `indices`, which take these places in this order.
  public func keepSequences(_ indices: [Int]) {
    lengths = indices.map { lengths[$0] }
    let rowsS = Tensor(indices.map(Int64.init), device: device)
    layers = layers.mapValues { entry in
      (
        entry.key.selectingRows(dim: 0, index: rowsS),
        entry.value.selectingRows(dim: 0, index: rowsS)
      )
    }
    rowIndices = [:]
    masks = [:]
  }

  /// Positions of the tokens of this pass, `[T]` int64.
  public var positionsT: Tensor {
    switch pass {
    case .prefill: Tensor(lengths.flatMap { (0..<$0).map(Int64.init) }, device: device)
    case .decode: Tensor(lengths.map { Int64($0 - 1) }, device: device)
    }
  }

  /// Writes keys and values, `[T, G, d]`, of the pass and returns everything cached for `layer`,
  /// `[S, G, N, d]`; entries behind the end of a shorter sequence are not defined.
  func write(key: Tensor, value: Tensor, layer: String) -> (key: Tensor, value: Tensor) {
    let entry = layers[layer] ?? (makeStorage(like: key), makeStorage(like: value))
    layers[layer] = entry
    let headCount = key.size(1)
    let rows = rowIndices[headCount] ?? makeRowIndices(headCount: headCount)
    rowIndices[headCount] = rows
    for (store, new) in [(entry.key, key), (entry.value, value)] {
      let size = new.size(2)
      store.view([sequenceCount * headCount * capacity, size])
        .copyRows(dim: 0, index: rows, source: new.reshaped([-1, size]))
    }
    return (
      entry.key.narrowed(dim: 2, start: 0, length: longestLength),
      entry.value.narrowed(dim: 2, start: 0, length: longestLength)
    )
  }

  /// What the one query of each sequence sees, `[S, 1, 1, N]` bool; nil when it sees everything.
  func mask(window: Int?) -> Tensor? {
    if let known = masks[window ?? 0] { return known }
    let longest = longestLength
    let isOpen = lengths.allSatisfy { $0 == longest } && longest <= window ?? .max
    var mask: Tensor?
    if !isOpen {
      let visible = lengths.flatMap { length in
        (0..<longest).map { UInt8($0 < length && $0 >= length - (window ?? length) ? 1 : 0) }
      }
      mask = Tensor(visible, shape: [sequenceCount, 1, 1, longest], device: device).to(.bool)
    }
    masks[window ?? 0] = .some(mask)
    return mask
  }

  private func makeStorage(like tensor: Tensor) -> Tensor {
    Tensor.zeros(
      [sequenceCount, tensor.size(1), capacity, tensor.size(2)], dtype: tensor.dtype,
      device: tensor.device)
  }

  private func makeRowIndices(headCount: Int) -> Tensor {
    var rows: [Int64] = []
    for (sequence, length) in lengths.enumerated() {
      for position in (pass == .prefill ? 0 : length - 1)..<length {
        for head in 0..<headCount {
          rows.append(Int64((sequence * headCount + head) * capacity + position))
        }
      }
    }
    return Tensor(rows, device: device)
  }

  private func grow(to newCapacity: Int) {
    func grown(_ old: Tensor) -> Tensor {
      let new = Tensor.zeros(
        [old.size(0), old.size(1), newCapacity, old.size(3)], dtype: old.dtype, device: old.device)
      new.narrowed(dim: 2, start: 0, length: capacity).copy(from: old)
      return new
    }
    layers = layers.mapValues { (grown($0.key), grown($0.value)) }
    capacity = newCapacity
  }
}
