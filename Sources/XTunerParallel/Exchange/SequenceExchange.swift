public import Torch

// Shape legend for this file:
//   T tokens of the pack   t tokens of this rank's slice   H, G query and key-value heads of all
//   ranks   h, g those of this rank   d, v head sizes

/// Sequence parallelism: attention over all tokens and a slice of heads, everything else over a
/// slice of tokens and all heads.
///
/// Slices are contiguous and differ by at most one token, so nothing is padded. Queries, keys and
/// values travel together. Where there are fewer key-value heads than ranks, a head is sent to each
/// rank that needs it, and its gradients are summed.
public final class SequenceExchange {
  /// The sizes of one exchange.
  public struct Heads {
    var query: Int
    var keyValue: Int
    var keySize: Int
    var valueSize: Int
  }

  private let queue: ExchangeQueue
  private var group: ProcessGroup { queue.group }

  /// An exchange over the sequence group of a mesh.
  public init(_ queue: ExchangeQueue) { self.queue = queue }

  /// The tokens of each rank of `count` in a pack of `tokenCount`.
  public static func slices(tokenCount: Int, count: Int) -> [Range<Int>] {
    (0..<count).map { tokenCount * $0 / count..<tokenCount * ($0 + 1) / count }
  }

  /// The key-value heads that a rank needs.
  private func keyValueHeads(_ heads: Int, place: Int) -> Range<Int> {
    let size = group.size
    if heads >= size { return heads / size * place..<heads / size * (place + 1) }
    let head = place * heads / size
    return head..<head + 1
  }

  /// Queries `[t, H, d]`, keys `[t, G, d]` and values `[t, G, v]` become `[T, h, d]`, `[T, g, d]` and
  /// `[T, g, v]`.
  public func toHeads(_ values: [Tensor], tokenCount: Int, label: String) -> PendingTensors {
    queue.submit(label) { [self] in
      let (query, key, value) = (values[0], values[1], values[2])
      let counts = Self.slices(tokenCount: tokenCount, count: group.size).map(\.count)
      let own = counts[group.index]
      let queryCount = query.size(1) / group.size
      let keyValueCount = keyValueHeads(key.size(1), place: 0).count
      let width =
        queryCount * query.size(2) + keyValueCount * (key.size(2) + value.size(2))
      let parts = (0..<group.size).map { place in
        let heads = keyValueHeads(key.size(1), place: place)
        return Tensor.concatenated(
          [
            query.narrowed(dim: 1, start: place * queryCount, length: queryCount)
              .reshaped([own, queryCount * query.size(2)]),
            key.narrowed(dim: 1, start: heads.lowerBound, length: heads.count)
              .reshaped([own, heads.count * key.size(2)]),
            value.narrowed(dim: 1, start: heads.lowerBound, length: heads.count)
              .reshaped([own, heads.count * value.size(2)]),
          ], dim: 1)
      }
      let incoming = Tensor.empty(
        [tokenCount, width], dtype: query.dtype, device: query.device)
      try group.allToAll(
        into: incoming, from: Tensor.concatenated(parts, dim: 0), outputCounts: counts,
        inputCounts: Array(repeating: own, count: group.size), label: label
      ).wait()
      var column = 0
      return [
        (queryCount, query.size(2)), (keyValueCount, key.size(2)), (keyValueCount, value.size(2)),
      ].map { heads, size in
        defer { column += heads * size }
        return incoming.narrowed(dim: 1, start: column, length: heads * size)
          .reshaped([tokenCount, heads, size])
      }
    }
  }

  /// The gradient of ``toHeads(_:tokenCount:label:)``: `[T, h, d]`, `[T, g, d]`, `[T, g, v]` become
  /// `[t, H, d]`, `[t, G, d]`, `[t, G, v]`.
  public func toHeadsBackward(
    _ gradients: [Tensor], keyValueHeadCount: Int, label: String
  ) -> PendingTensors {
    queue.submit(label) { [self] in
      let (query, key, value) = (gradients[0], gradients[1], gradients[2])
      let tokenCount = query.size(0)
      let counts = Self.slices(tokenCount: tokenCount, count: group.size).map(\.count)
      let own = counts[group.index]
      let widths = gradients.map { $0.size(1) * $0.size(2) }
      let outgoing = Tensor.concatenated(
        zip(gradients, widths).map { $0.reshaped([tokenCount, $1]) }, dim: 1)
      let incoming = Tensor.empty(
        [own * group.size, widths.reduce(0, +)], dtype: query.dtype, device: query.device)
      try group.allToAll(
        into: incoming, from: outgoing, outputCounts: Array(repeating: own, count: group.size),
        inputCounts: counts, label: label
      ).wait()
      let parts = (0..<group.size).map { place in
        incoming.narrowed(dim: 0, start: place * own, length: own).split(sizes: widths, dim: 1)
      }
      let queries = Tensor.concatenated(
        parts.map { $0[0].reshaped([own, query.size(1), query.size(2)]) }, dim: 1)
      func summed(_ index: Int, _ like: Tensor) -> Tensor {
        let sum = Tensor.zeros(
          [own, keyValueHeadCount, like.size(2)], dtype: .float32, device: like.device)
        for (place, part) in parts.enumerated() {
          let heads = keyValueHeads(keyValueHeadCount, place: place)
          sum.narrowed(dim: 1, start: heads.lowerBound, length: heads.count)
            .add(part[index].reshaped([own, heads.count, like.size(2)]))
        }
        return sum.to(like.dtype)
      }
      return [queries, summed(1, key), summed(2, value)]
    }
  }

  /// The attention's output `[T, h, v]` becomes `[t, H, v]`.
  public func toTokens(_ mixed: Tensor, label: String) -> PendingTensors {
    queue.submit(label) { [self] in
      let (tokenCount, heads, size) = (mixed.size(0), mixed.size(1), mixed.size(2))
      let counts = Self.slices(tokenCount: tokenCount, count: group.size).map(\.count)
      let own = counts[group.index]
      let incoming = Tensor.empty(
        [group.size * own, heads * size], dtype: mixed.dtype, device: mixed.device)
      try group.allToAll(
        into: incoming, from: mixed.reshaped([tokenCount, heads * size]),
        outputCounts: Array(repeating: own, count: group.size), inputCounts: counts, label: label
      ).wait()
      return [
        incoming.view([group.size, own, heads, size]).transposed(0, 1)
          .reshaped([own, group.size * heads, size])
      ]
    }
  }

  /// The gradient of ``toTokens(_:label:)``: `[t, H, v]` becomes `[T, h, v]`.
  public func toTokensBackward(
    _ gradient: Tensor, tokenCount: Int, label: String
  ) -> PendingTensors {
    queue.submit(label) { [self] in
      let (own, allHeads, size) = (gradient.size(0), gradient.size(1), gradient.size(2))
      let heads = allHeads / group.size
      let counts = Self.slices(tokenCount: tokenCount, count: group.size).map(\.count)
      let outgoing = gradient.reshaped([own, group.size, heads * size]).transposed(0, 1)
        .contiguous().view([group.size * own, heads * size])
      let incoming = Tensor.empty(
        [tokenCount, heads * size], dtype: gradient.dtype, device: gradient.device)
      try group.allToAll(
        into: incoming, from: outgoing, outputCounts: counts,
        inputCounts: Array(repeating: own, count: group.size), label: label
      ).wait()
      return [incoming.view([tokenCount, heads, size])]
    }
  }
}
