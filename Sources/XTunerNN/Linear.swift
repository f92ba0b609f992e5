public import Torch

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

  /// Returns `[..., outputSize]` for `x` of `[..., inputSize]`.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    weight.linear(x, bias: bias)
  }
}
