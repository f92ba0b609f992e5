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
}

/// Which stage of a block: what schedules print and what a recompute policy names.
///
/// Parts declare their own beside their stages, such as `StageName.attend`.
public struct StageName: Hashable, Sendable, CustomStringConvertible {
  /// The name, unique in a block.
  public let description: String

  /// A stage with this name.
  public init(_ name: String) { self.description = name }
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
  public let name: StageName
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
    _ name: StageName, inputs: [StageValue], outputs: [StageValue], travel: Travel = .none,
    run: @escaping ([Tensor], ForwardContext, BlockRecord) -> [Tensor?]
  ) {
    self.name = name
    self.travel = travel
    self.inputs = inputs
    self.outputs = outputs
    self.run = run
  }
}
