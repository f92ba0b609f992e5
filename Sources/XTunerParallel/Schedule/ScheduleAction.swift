public import XTunerNN

/// One thing that an engine does in a round of micro-batches.
///
/// Blocks are counted from the embedding, 0, over the layers to the head; micro-batches from 0 in the
/// round.
public enum ScheduleAction: Sendable, Hashable {
  /// Starts to bring a block's parameters together.
  case gather(block: Int)
  /// Gives the memory of gathered parameters back.
  case release(block: Int)
  /// Starts to sum a block's gradients over ranks.
  case reduce(block: Int)
  /// Looks the tokens of a micro-batch up.
  case embed(microBatch: Int)
  /// Runs stages of a block.
  case forward(block: Int, stages: Range<Int>, microBatch: Int)
  /// Starts to move a block's input to host memory.
  case swapOut(block: Int, microBatch: Int)
  /// Starts to bring a block's input back.
  case swapIn(block: Int, microBatch: Int)
  /// Starts to sum the rows of each expert over ranks and micro-batches.
  case countRows
  /// The head's loss with its gradients.
  case loss(microBatch: Int)
  /// Runs the stages that were not recorded again, with what backward needs.
  case recompute(block: Int, stages: Range<Int>, microBatch: Int)
  /// The gradients of stages, last stage first.
  case backward(block: Int, stages: Range<Int>, microBatch: Int)
  /// The embedding's gradient.
  case embedBackward(microBatch: Int)
}

extension ScheduleAction {
  /// Whether it is work of its own and does not only start something.
  public var computes: Bool {
    switch self {
    case .embed, .forward, .loss, .recompute, .backward, .embedBackward: true
    case .gather, .release, .reduce, .swapOut, .swapIn, .countRows: false
    }
  }

  /// Whether it belongs to the backward pass of the layers.
  public var isBackward: Bool {
    switch self {
    case .backward, .recompute: true
    default: false
    }
  }
}

/// What a schedule needs to know of a layer.
public struct LayerPlan: Sendable, Hashable {
  /// The block's name, for print.
  public var name: String
  /// The stages' names, for print.
  public var stages: [StageName]
  /// Whether tokens are routed to experts, whose rows are counted.
  public var routesTokens: Bool
  /// Stages after which values travel to other ranks.
  public var travelling: Set<Int>
  /// Stages that record what their backward needs when they first run.
  public var recorded: Set<Int>
  /// Whether the layer's input waits for backward in host memory.
  public var swapsInput: Bool

  /// A layer's plan.
  public init(
    name: String, stages: [StageName], routesTokens: Bool = false, travelling: Set<Int> = [],
    recorded: Set<Int>? = nil, swapsInput: Bool = false
  ) {
    self.name = name
    self.stages = stages
    self.routesTokens = routesTokens
    self.travelling = travelling
    self.recorded = recorded ?? Set(stages.indices)
    self.swapsInput = swapsInput
  }

  /// Whether backward has to run stages again.
  public var isRecomputed: Bool { recorded.count < stages.count }

  /// The stages cut after those that travel.
  var segments: [Range<Int>] {
    var segments: [Range<Int>] = []
    var start = 0
    for stage in stages.indices where travelling.contains(stage) {
      segments.append(start..<stage + 1)
      start = stage + 1
    }
    if start < stages.count { segments.append(start..<stages.count) }
    return segments
  }
}
