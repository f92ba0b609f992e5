public import Torch

/// The expert choice of one micro-batch in one layer.
public struct RoutingRecord {
  /// The chosen experts, `[T, K]` int64.
  public let expertsTK: Tensor
  /// The token of each row in expert order, `[T K]` int64.
  public let tokenOfRow: Tensor
  /// The row of each token's k-th choice, `[T, K]` int64.
  public let rowOfSlotTK: Tensor
  /// The end of each expert's rows, `[E]` int64 on the host.
  public let offsetsE: Tensor
  /// Rows of each expert, `[E]` int64.
  public let countsE: Tensor

  /// A choice with its derived orders.
  public init(expertsTK: Tensor, expertCount: Int) {
    let order = ExpertOrder(expertsTK: expertsTK, expertCount: expertCount)
    self.expertsTK = expertsTK
    self.tokenOfRow = order.tokenOfRow
    self.rowOfSlotTK = order.rowOfSlotTK
    self.offsetsE = order.offsetsE
    self.countsE = order.countsE
  }
}

/// The rows that came to the experts of this rank; absent where all experts are here and the routing's
/// own offsets hold.
public struct LocalExpertRows {
  /// The end of the rows of each expert of this rank, `[E]` int64 on the host.
  public let offsetsE: Tensor

  /// Rows by their ends.
  public init(offsetsE: Tensor) { self.offsetsE = offsetsE }
}

/// A choice of experts that does not depend on the router, so that benchmarks have a known load.
public enum ForcedRouting: String, Sendable, Hashable, CaseIterable {
  /// Token t gets the experts t K, t K + 1, ... modulo the expert count: equal loads.
  case uniform
  /// Experts of each token are drawn without repetition, the same on every run.
  case random

  /// The experts of each of `tokenCount` tokens, `[T, K]` int64.
  func experts(
    tokenCount: Int, expertCount: Int, expertsPerToken: Int, on device: Device
  ) -> Tensor {
    withoutGradients {
      switch self {
      case .uniform:
        let rows = Tensor.arange(
          from: 0, to: .integer(tokenCount * expertsPerToken), step: 1, dtype: .int64,
          device: device)
        let rounds = rows.floorDivided(by: .integer(expertCount))
        return rows.subtracting(rounds, alpha: .integer(expertCount))
          .view([tokenCount, expertsPerToken])
      case .random:
        let numbers = Tensor.empty([tokenCount, expertCount], dtype: .float32)
        numbers.fillUniform(from: 0, to: 1, generator: Generator(seed: UInt64(tokenCount)))
        return numbers.sent(to: device)
          .topK(expertsPerToken, dim: -1, isLargest: true, isSorted: true).indices
      }
    }
  }
}
