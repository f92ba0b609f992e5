import Torch
public import XTunerNN

/// A dropless mixture-of-experts layer, as the stages of a block: route, dispatch, experts, (shared,)
/// combine.
public final class MixtureOfExperts: FeedForwardPart {
  /// Sizes and variants of the layer.
  public struct Options: Sendable, Hashable {
    /// How experts are chosen and weighted.
    public var router: Router.Options
    /// Width of a routed expert.
    public var expertSize: Int
    /// Width of the network that every token passes besides; 0 where there is none.
    public var sharedExpertSize: Int

    /// A layer from its sizes.
    public init(router: Router.Options, expertSize: Int, sharedExpertSize: Int = 0) {
      self.router = router
      self.expertSize = expertSize
      self.sharedExpertSize = sharedExpertSize
    }
  }

  let router: Router
  let experts: Experts
  let sharedExpert: FeedForward?
  private let options: Options

  /// Declares the router, the experts and, where asked for, the expert that every token passes, under
  /// the name of their block.
  public init(_ name: String, _ options: Options, _ sizes: BlockSizes) {
    self.options = options
    self.router = Router(
      "\(name).router", hiddenSize: sizes.hiddenSize, options: options.router,
      standardDeviation: sizes.standardDeviation)
    self.experts = Experts(
      "\(name).experts", expertCount: options.router.expertCount, hiddenSize: sizes.hiddenSize,
      expertSize: options.expertSize, standardDeviation: sizes.standardDeviation)
    self.sharedExpert =
      options.sharedExpertSize > 0
      ? FeedForward(
        "\(name).sharedExpert", hiddenSize: sizes.hiddenSize,
        intermediateSize: options.sharedExpertSize, standardDeviation: sizes.standardDeviation)
      : nil
  }

  /// The routed experts.
  public var routedExperts: RoutedExperts? {
    RoutedExperts(
      count: options.router.expertCount, perToken: options.router.expertsPerToken,
      size: options.expertSize)
  }

  /// The router's, experts' and shared expert's weights.
  public var parameters: [Parameter] {
    router.parameters + experts.parameters + (sharedExpert?.parameters ?? [])
  }

  /// Those of the experts or of the shared expert.
  public func parameters(of module: Float8Module) -> [Parameter] {
    switch module {
    case .experts: experts.parameters
    case .sharedExpert: sharedExpert?.parameters ?? []
    case .attention, .feedForward, .head: []
    }
  }

  /// Routing, the experts between two exchanges, the weighted sum.
  public func stages(entry: ResidualEntry) -> [Stage] {
    let route = Stage(
      .route, inputs: ResidualEntry.inputs,
      outputs: [.residual, .normalized, .mixingWeights, .scoreSums, .squaredLogSumExp]
    ) { values, context, record in
      let (sum, normalized) = entry(values)
      let normalizedTD = normalized.rows
      let routed = self.route(normalizedTD, context, record)
      return [
        sum, normalizedTD, routed.weightsTK,
        context.wantedSums.contains(.scoreSums) ? routed.scoreSumsE : nil,
        context.wantedSums.contains(.squaredLogSumExp) ? routed.squaredLogSumExp : nil,
      ]
    }
    let dispatch = Stage(
      .dispatch, inputs: [.normalized], outputs: [.dispatchedRows], travel: .toExperts
    ) { values, _, record in [self.dispatch(values[0], record)] }
    let experts = Stage(
      .experts, inputs: [.dispatchedRows], outputs: [.expertRows], travel: .fromExperts
    ) { values, _, record in [self.compute(values[0], record)] }
    let combine = Stage(
      .combine,
      inputs: [.residual, .expertRows, .mixingWeights]
        + (sharedExpert == nil ? [] : [.sharedOutput]),
      outputs: [.output]
    ) { values, _, record in
      let sum = values[0] + self.combine(values[1], values[2], record)
      return [values.count > 3 ? sum + values[3] : sum]
    }
    // The shared expert between experts and combine, so that it runs while the rows travel back.
    let shared = sharedExpert.map { expert in
      Stage(.shared, inputs: [.normalized], outputs: [.sharedOutput]) { values, _, _ in
        [expert(LinearInput(values[0]))]
      }
    }
    return [route, dispatch, experts] + (shared.map { [$0] } ?? []) + [combine]
  }

  /// Routes normalised hidden states, `[T, D]`.
  ///
  /// The choice is kept in `record`; when it is already there (recomputation) it is not made again.
  private func route(
    _ normalizedTD: Tensor, _ context: ForwardContext, _ record: BlockRecord
  ) -> Router.Output {
    let output = router(
      normalizedTD, stored: record[RoutingRecord.self], forced: context[ForcedRouting.self])
    record[RoutingRecord.self] = output.routing
    return output
  }

  /// The rows for all experts, `[T K, D]`, in expert order.
  private func dispatch(_ normalizedTD: Tensor, _ record: BlockRecord) -> Tensor {
    let routing = routing(of: record)
    return normalizedTD.permutedRows(
      tokenOfRow: routing.tokenOfRow, rowOfSlot: routing.rowOfSlotTK)
  }

  /// The outputs of this rank's experts for rows `[R, D]` in their order; `[R, D]`.
  private func compute(_ rowsRD: Tensor, _ record: BlockRecord) -> Tensor {
    experts(
      rowsRD, offsetsE: record[LocalExpertRows.self]?.offsetsE ?? routing(of: record).offsetsE)
  }

  /// The weighted sum of each token's rows, `[T, D]`.
  private func combine(_ rowsRD: Tensor, _ weightsTK: Tensor, _ record: BlockRecord) -> Tensor {
    rowsRD.unpermutedRows(weights: weightsTK, rowOfSlot: routing(of: record).rowOfSlotTK)
  }

  private func routing(of record: BlockRecord) -> RoutingRecord {
    guard let routing = record[RoutingRecord.self] else {
      preconditionFailure("rows are dispatched before they were routed")
    }
    return routing
  }
}

extension StageName {
  /// Attention's output projection, the norm and the router.
  public static let route = StageName("route")
  /// The copy of rows into the order of experts.
  public static let dispatch = StageName("dispatch")
  /// The products of the routed experts.
  public static let experts = StageName("experts")
  /// The expert that every token passes.
  public static let shared = StageName("shared")
  /// The weighted sum of each token's rows.
  public static let combine = StageName("combine")
}

extension StageValue {
  static let residual = StageValue("residual")
  static let normalized = StageValue("normalized")
  static let mixingWeights = StageValue("mixingWeights")
  static let dispatchedRows = StageValue("dispatchedRows")
  static let expertRows = StageValue("expertRows")
  static let sharedOutput = StageValue("sharedOutput")
}
