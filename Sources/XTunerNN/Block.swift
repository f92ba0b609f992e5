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
  /// A scalar that is added to the loss as it is (balance and z-losses).
  public static let auxiliaryLoss = StageValue("auxiliaryLoss")
}

/// A part of a block between two exchanges: inputs and outputs are named, so that an engine can run
/// stages of several micro-batches in any order, keep, drop or swap what passes between them, and
/// differentiate each on its own.
public struct Stage {
  /// What a stage waits for.
  public enum Kind: Sendable {
    /// Computation on this rank.
    case compute
    /// Rows that move between the ranks of the expert mesh.
    case exchange
  }

  /// Unique in the block.
  public let name: String
  /// What it waits for.
  public let kind: Kind
  /// The values it reads.
  public let inputs: [StageValue]
  /// The values it makes.
  public let outputs: [StageValue]
  /// Computes the outputs, in their order.
  public let run: ([Tensor], ForwardContext, BlockRecord) -> [Tensor]

  /// A stage from its parts.
  public init(
    _ name: String, _ kind: Kind, inputs: [StageValue], outputs: [StageValue],
    run: @escaping ([Tensor], ForwardContext, BlockRecord) -> [Tensor]
  ) {
    self.name = name
    self.kind = kind
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
  /// The router's losses, float32 scalars outside any graph, for the metrics.
  public var routerLosses: (balance: Tensor, z: Tensor)?

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
