public import Torch
public import XTunerNN

/// A dropless mixture-of-experts layer, as the stages of a block.
public final class MixtureOfExperts: Module {
  let router: Router
  /// The routed experts.
  public let experts: Experts
  /// The expert that every token passes.
  public let sharedExpert: FeedForward?

  /// A layer from its parts.
  public init(router: Router, experts: Experts, sharedExpert: FeedForward? = nil) {
    self.router = router
    self.experts = experts
    self.sharedExpert = sharedExpert
  }

  /// The number of routed experts.
  public var expertCount: Int { router.options.expertCount }

  /// Experts a token.
  public var expertsPerToken: Int { router.options.expertsPerToken }

  /// Whether every token passes an expert of its own besides.
  public var hasSharedExpert: Bool { sharedExpert != nil }

  /// The router's, experts' and shared expert's weights.
  public var parameters: [Parameter] {
    router.parameters + experts.parameters + (sharedExpert?.parameters ?? [])
  }

  /// Routes normalised hidden states, `[T, D]`.
  ///
  /// The choice is kept in `record`; when it is already there (recomputation) it is not made again.
  public func route(
    _ normalizedTD: Tensor, _ context: ForwardContext, _ record: BlockRecord
  ) -> Router.Output {
    let output = router(normalizedTD, stored: record.routing, forced: context.forcedRouting)
    record.routing = output.routing
    return output
  }

  /// The rows for all experts, `[T K, D]`, in expert order.
  public func dispatch(_ normalizedTD: Tensor, _ record: BlockRecord) -> Tensor {
    let routing = routing(of: record)
    return normalizedTD.permutedRows(
      tokenOfRow: routing.tokenOfRow, rowOfSlot: routing.rowOfSlotTK)
  }

  /// The outputs of this rank's experts for rows `[R, D]` in their order; `[R, D]`.
  public func compute(_ rowsRD: Tensor, _ record: BlockRecord) -> Tensor {
    experts(rowsRD, offsetsE: record.localOffsetsE ?? routing(of: record).offsetsE)
  }

  /// The weighted sum of each token's rows, `[T, D]`.
  public func combine(_ rowsRD: Tensor, _ weightsTK: Tensor, _ record: BlockRecord) -> Tensor {
    rowsRD.unpermutedRows(weights: weightsTK, rowOfSlot: routing(of: record).rowOfSlotTK)
  }

  /// The expert that every token passes, `[T, D]`, or nil where the model has none.
  public func shared(_ normalizedTD: Tensor) -> Tensor? {
    sharedExpert.map { $0(LinearInput(normalizedTD)) }
  }

  private func routing(of record: BlockRecord) -> RoutingRecord {
    guard let routing = record.routing else {
      preconditionFailure("rows are dispatched before they were routed")
    }
    return routing
  }
}
