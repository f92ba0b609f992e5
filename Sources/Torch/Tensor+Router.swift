import CTorch

// Shape legend for this file:
//   T tokens   E experts   K experts a token

/// The orders of rows that follow from a choice of experts: rows are sorted by expert, then by token.
public struct ExpertOrder {
  /// The token of each row, `[T K]` int64.
  public let tokenOfRow: Tensor
  /// The row of each token's k-th choice, `[T, K]` int64.
  public let rowOfSlotTK: Tensor
  /// Rows of each expert, `[E]` int64.
  public let countsE: Tensor
  /// The end of each expert's rows, `[E]` int64.
  public let offsetsE: Tensor

  /// The orders of `expertsTK`, `[T, K]` int64, in `0..<expertCount`.
  public init(expertsTK: Tensor, expertCount: Int, implementation: Implementation = .kernel) {
    var handles = [OpaquePointer?](repeating: nil, count: 4)
    withExtendedLifetime(expertsTK) {
      handles.withUnsafeMutableBufferPointer { out in
        torchCall("xtuner::expert_order") {
          ct_expert_order(
            expertsTK.handle, Int64(expertCount), implementation == .reference, &out[0], &out[1],
            &out[2], &out[3])
        }
      }
    }
    let tensors = handles.map { Tensor(adopting: $0.unsafelyUnwrapped) }
    (tokenOfRow, rowOfSlotTK, countsE, offsetsE) = (tensors[0], tensors[1], tensors[2], tensors[3])
  }
}

extension Tensor {
  /// Softmax and log-sum-exp of each row of these logits, `[T, E]` float32 or float64.
  public func routerScores(
    implementation: Implementation = .kernel
  ) -> (scoresTE: Tensor, logSumExpT: Tensor) {
    let (scoresTE, logSumExpT) = withExtendedLifetime(self) {
      makeTensors2("xtuner::router_scores") {
        ct_router_scores(handle, implementation == .reference, $0, $1)
      }
    }
    return (scoresTE, logSumExpT)
  }

  /// The columns of the `count` largest scores of each row of `[T, E]`, largest first; `[T, K]` int64.
  ///
  /// Of equal scores the first is chosen. No gradient flows through a choice.
  public func routedTopK(_ count: Int, implementation: Implementation = .kernel) -> Tensor {
    withExtendedLifetime(self) {
      makeTensor("xtuner::route_top_k") {
        ct_route_top_k(handle, Int64(count), implementation == .reference, $0)
      }
    }
  }
}
