public import Torch

/// What linear layers multiply: rows, and the same quantised where a norm has made both.
public struct LinearInput {
  /// The rows, `[..., K]`.
  public let rows: Tensor
  /// The rows as float8 products take them; nil where each layer quantises its own.
  public let quantized: Float8Tensor?

  /// Rows as they are, or with what they are quantised to.
  public init(_ rows: Tensor, quantized: Float8Tensor? = nil) {
    self.rows = rows
    self.quantized = quantized
  }
}

/// `y = x · Wᵀ + b`.
public final class Linear: Module {
  let weight: Parameter
  let bias: Parameter?

  /// Declares the weight `[outputSize, inputSize]`, drawn from a normal distribution, and a zero bias.
  ///
  /// `matrixCount` says how many matrices of as many rows the weight is, one after another.
  public init(
    _ name: String, inputSize: Int, outputSize: Int, hasBias: Bool = false,
    standardDeviation: Double = 0.02, matrixCount: Int = 1
  ) {
    self.weight = Parameter(
      "\(name).weight", shape: [outputSize, inputSize], kind: .matrix,
      initializer: .normal(standardDeviation: standardDeviation),
      tensorSplit: matrixCount > 1
        ? Parameter.TensorSplit(dim: 0, blockCount: matrixCount) : nil)
    self.bias =
      hasBias
      ? Parameter("\(name).bias", shape: [outputSize], kind: .bias, initializer: .zeros) : nil
  }

  /// The weight, then the bias.
  public var parameters: [Parameter] { [weight] + (bias.map { [$0] } ?? []) }

  /// Returns `[..., outputSize]` for rows of `[..., inputSize]`.
  public func callAsFunction(_ x: LinearInput) -> Tensor {
    weight.linear(x, bias: bias)
  }

  /// Returns `[..., outputSize]` for `x` of `[..., inputSize]`.
  public func callAsFunction(_ x: Tensor) -> Tensor { self(LinearInput(x)) }

  /// Returns `[R, outputSize]` of `silu(gate) * up`, for rows `[gate, up]`, `[R, 2 inputSize]`.
  public func callAsFunction(swiGLUOf gateUp: Tensor) -> Tensor {
    weight.linear(swiGLUOf: gateUp, bias: bias)
  }
}
