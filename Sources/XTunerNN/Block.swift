public import Torch

/// A value that passes between the stages of a block.
public struct StageValue: Hashable, Sendable, CustomStringConvertible {
  /// The name, unique in a block.
  public let description: String

  /// A value with this name.
  public init(_ name: String) { self.description = name }

  /// The hidden states that enter a block, `[T, D]`.
  public static let input = StageValue("input")
  /// The hidden states that leave a block, `[T, D]`.
  public static let output = StageValue("output")
  /// The sum over tokens of each expert's score, `[E]` float32: what the balance loss weighs.
  public static let scoreSums = StageValue("scoreSums")
  /// The sum over tokens of the squared log-sum-exp of the router's logits, a float32 scalar.
  public static let squaredLogSumExp = StageValue("squaredLogSumExp")
}

/// A part of a block between two exchanges: inputs and outputs are named, so that an engine can run
/// stages of several micro-batches in any order, keep, drop or swap what passes between them, and
/// differentiate each on its own.
public struct Stage {
  /// Where a stage's outputs go when a mesh spreads experts or sequences; on one rank nowhere.
  public enum Travel: Sendable {
    /// They stay.
    case none
    /// Rows in expert order, `[R, D]`, to the ranks that have the experts.
    case toExperts
    /// The experts' rows back to the ranks of their tokens.
    case fromExperts
    /// Queries, keys and values of a slice of tokens become those of a slice of heads.
    case toHeads
    /// The attention's output of a slice of heads becomes that of a slice of tokens.
    case toTokens
  }

  /// Unique in the block.
  public let name: String
  /// Where the outputs go.
  public let travel: Travel
  /// The values it reads.
  public let inputs: [StageValue]
  /// The values it makes.
  public let outputs: [StageValue]
  /// Computes the outputs, in their order; nil for sums that the context does not want.
  public let run: ([Tensor], ForwardContext, BlockRecord) -> [Tensor?]

  /// A stage from its parts.
  public init(
    _ name: String, inputs: [StageValue], outputs: [StageValue], travel: Travel = .none,
    run: @escaping ([Tensor], ForwardContext, BlockRecord) -> [Tensor?]
  ) {
    self.name = name
    self.travel = travel
    self.inputs = inputs
    self.outputs = outputs
    self.run = run
  }
}

/// The unit that is gathered, recomputed, swapped and interleaved: a decoder layer, for example.
public protocol Block: Module {
  /// Unique in the model, such as `layers.3`.
  var name: String { get }
  /// The stages, in order.
  var stages: [Stage] { get }
}

/// What a block remembers of one micro-batch beside tensors: the expert choice above all, which a
/// recomputation reads instead of routing again.
public final class BlockRecord {
  /// The expert choice of this micro-batch.
  public var routing: RoutingRecord?
  /// The end of the rows of each expert of this rank, `[E]` int64 on the host; nil where all experts
  /// are here and the routing's own offsets hold.
  public var localOffsetsE: Tensor?

  /// An empty record.
  public init() {}
}

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
  public init(
    expertsTK: Tensor, tokenOfRow: Tensor, rowOfSlotTK: Tensor, offsetsE: Tensor, countsE: Tensor
  ) {
    self.expertsTK = expertsTK
    self.tokenOfRow = tokenOfRow
    self.rowOfSlotTK = rowOfSlotTK
    self.offsetsE = offsetsE
    self.countsE = countsE
  }
}

extension Block {
  /// Runs the stages in order: the plain single-device model, for tests and generation.
  public func callAsFunction(
    _ input: Tensor, _ context: ForwardContext, record: BlockRecord = BlockRecord()
  ) -> Tensor {
    var values: [StageValue: Tensor] = [.input: input]
    for stage in stages {
      let outputs = stage.run(stage.inputs.map { values.at($0) }, context, record)
      for (name, tensor) in zip(stage.outputs, outputs) { values[name] = tensor }
    }
    return values.at(.output)
  }
}

extension [StageValue: Tensor] {
  /// The value of that name; a stage that reads what no stage made is a mistake in the block.
  public func at(_ name: StageValue) -> Tensor {
    guard let tensor = self[name] else { preconditionFailure("no stage made '\(name)'") }
    return tensor
  }
}
