import XTunerNN

/// The order of everything in one round of micro-batches: forward, loss and backward over all blocks.
///
/// It is data, made before the round from the layers' plans alone, so it can be printed, compared and
/// counted; an engine only carries it out. Every rank of a run has the same schedule.
///
/// Micro-batches are interleaved inside blocks (Domino): a block is cut after each stage whose values
/// travel, and each piece runs for all micro-batches before the next piece, so that what travels for
/// one micro-batch does so under the computation of another. What follows the last journey of a block
/// is put together with the first piece of the next block. Backward is the same list from its end.
public struct Schedule: Sendable, Hashable {
  /// When gathered parameters are given back.
  public enum Reshard: String, Sendable, Hashable, CaseIterable {
    /// After forward, and gathered again for backward; the last layer stays.
    case afterForward = "after_forward"
    /// At the end of the step: one gather and one reduction a step.
    case never
  }

  /// What decides about a schedule.
  public struct Options: Sendable, Hashable {
    /// Micro-batches that go through a block together.
    public var microBatchCount = 1
    /// Whether parameters are spread over ranks, so that they have to be gathered.
    public var isSharded = false
    /// Whether gradients are summed over ranks.
    public var isReduced = false
    /// Blocks that are gathered ahead.
    public var prefetch = 1
    /// When gathered parameters are given back.
    public var reshard = Reshard.afterForward
    /// Whether the head's projection is the embedding.
    public var tiesHead = false
    /// Whether the head is computed at all.
    var usesHead = true
    /// Whether this is the first round of a step.
    public var isFirstRound = true
    /// Whether this is the last round of a step.
    public var isLastRound = true
    /// Layers whose swapped input is brought back ahead.
    public var swapAhead = 1

    /// One micro-batch on one rank.
    public init() {}
  }

  /// The actions, in order.
  public let actions: [ScheduleAction]
  private let layers: [LayerPlan]

  /// The schedule of a training round.
  public init(layers: [LayerPlan], options: Options) {
    var builder = ScheduleBuilder(layers: layers, options: options)
    self.actions = builder.training()
    self.layers = layers
  }

  /// The schedule of a forward pass with a loss and no gradients, for one micro-batch.
  public static func evaluation(layers: [LayerPlan], options: Options) -> Schedule {
    var options = options
    options.microBatchCount = 1
    options.reshard = .afterForward
    var builder = ScheduleBuilder(layers: layers, options: options)
    return Schedule(actions: builder.evaluation(), layers: layers)
  }

  /// The schedule of a forward pass through the layers alone, which shows how experts are chosen.
  public static func counting(layers: [LayerPlan], options: Options) -> Schedule {
    var options = options
    options.reshard = .afterForward
    options.usesHead = false
    var builder = ScheduleBuilder(layers: layers, options: options)
    return Schedule(actions: builder.counting(), layers: layers)
  }

  private init(actions: [ScheduleAction], layers: [LayerPlan]) {
    self.actions = actions
    self.layers = layers
  }
}

extension Schedule: CustomStringConvertible {
  /// One action a line, such as `forward layers.0 [project attend] #1`.
  public var description: String {
    actions.map(line).joined(separator: "\n")
  }

  private func name(_ block: Int) -> String {
    block == 0 ? "embedding" : block > layers.count ? "head" : layers[block - 1].name
  }

  private func names(_ block: Int, _ stages: Range<Int>) -> String {
    "[\(layers[block - 1].stages[stages].map(\.description).joined(separator: " "))]"
  }

  /// The line of one action.
  public func line(_ action: ScheduleAction) -> String {
    switch action {
    case .gather(let block): "gather \(name(block))"
    case .release(let block): "release \(name(block))"
    case .reduce(let block): "reduce \(name(block))"
    case .embed(let batch): "embed #\(batch)"
    case .forward(let block, let stages, let batch):
      "forward \(name(block)) \(names(block, stages)) #\(batch)"
    case .swapOut(let block, let batch): "swap out \(name(block)) #\(batch)"
    case .swapIn(let block, let batch): "swap in \(name(block)) #\(batch)"
    case .countRows: "count rows"
    case .loss(let batch): "loss #\(batch)"
    case .recompute(let block, let stages, let batch):
      "recompute \(name(block)) \(names(block, stages)) #\(batch)"
    case .backward(let block, let stages, let batch):
      "backward \(name(block)) \(names(block, stages)) #\(batch)"
    case .embedBackward(let batch): "embed backward #\(batch)"
    }
  }
}
