public import Torch

/// A trained tensor of a model: declared with its shape and role first, given memory later.
///
/// A model is built without memory, so that an engine can plan where each parameter lives before
/// anything is loaded. The engine then sets ``value`` to a view into a flat buffer.
public final class Parameter {
  /// Over which ranks a parameter is spread; given where it is created, never read out of its name.
  public enum Role: Sendable {
    /// Sharded over all ranks.
    case dense
    /// Spread by whole experts (its first dim), then sharded.
    case expert
    /// The same on every rank.
    case replicated
  }

  /// The precision that the forward pass reads.
  public enum Precision: Sendable {
    /// The run's compute dtype, such as bfloat16.
    case compute
    /// float32, whatever the compute dtype (routers).
    case full
  }

  /// What layers multiply with a weight.
  public enum Product: Sendable, Equatable {
    /// Operands in the compute dtype.
    case compute
    /// Operands that are quantised to float8_e4m3fn; the result is bfloat16.
    case float8(Float8Products)
  }

  /// What the numbers are, which decides whether weight decay applies.
  public enum Kind: Sendable {
    case matrix
    case embedding
    case norm
    case bias
  }

  /// The first values of a model trained from scratch.
  public enum Initializer: Sendable {
    /// Independent normal numbers with mean 0.
    case normal(standardDeviation: Double)
    case zeros
    case ones
  }

  /// The blocks that a fused matrix is made of, one after another along a dim.
  ///
  /// Expert tensor parallelism cuts each into equal parts; Muon takes each as a matrix.
  public struct TensorSplit: Sendable, Hashable {
    /// The dim of the shape that the blocks make up.
    public var dim: Int
    /// Blocks along that dim: 2 for gate and up in one matrix.
    public var blockCount: Int

    /// A split from its parts.
    public init(dim: Int, blockCount: Int) {
      self.dim = dim
      self.blockCount = blockCount
    }
  }

  /// Unique in the model, such as `layers.3.attention.query.weight`.
  public let name: String
  /// The shape of the whole parameter.
  public let shape: [Int]
  /// Over which ranks it is spread.
  public let role: Role
  /// The precision of ``value``.
  public let precision: Precision
  /// What the numbers are.
  public let kind: Kind
  /// The first values.
  public let initializer: Initializer
  /// What it is fused from and how expert tensor parallelism cuts it; nil for one matrix that it
  /// cannot cut.
  public let tensorSplit: TensorSplit?
  /// The shape of ``value``: that of the whole parameter, or of the experts that this rank has.
  ///
  /// An engine sets it before it gives the parameter memory.
  public var localShape: [Int]
  /// What layers multiply with it.
  ///
  /// An engine sets it before it gives the parameter memory.
  public var product = Product.compute
  /// The parameter in float8 blocks, where ranks share it so: then ``value`` is without memory, and says
  /// only what a gradient is of.
  public var quantized: Float8Tensor?

  private var storage: Tensor?

  /// Declares a parameter; it has no memory yet.
  public init(
    _ name: String, shape: [Int], kind: Kind, initializer: Initializer, role: Role = .dense,
    precision: Precision = .compute, tensorSplit: TensorSplit? = nil
  ) {
    self.name = name
    self.shape = shape
    self.kind = kind
    self.initializer = initializer
    self.role = role
    self.precision = precision
    self.tensorSplit = tensorSplit
    self.localShape = shape
  }

  /// The tensor that forward passes read.
  ///
  /// Setting it checks the shape; reading it before it was set
  /// stops the process.
  public var value: Tensor {
    get {
      guard let storage else { preconditionFailure("\(name) has no memory yet") }
      return storage
    }
    set {
      precondition(
        newValue.shape == localShape, "\(name) is \(localShape), the tensor \(newValue.shape)")
      storage = newValue
    }
  }

  /// Whether ``value`` can be read.
  public var hasValue: Bool { storage != nil }

  /// The number of elements of the whole parameter.
  public var elementCount: Int { shape.reduce(1, *) }
}
