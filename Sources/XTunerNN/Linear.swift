public import Torch

/// `y = x · Wᵀ + b`.
public final class Linear: Module {
  let weight: Parameter
  let bias: Parameter?

  /// Declares the weight `[outputSize, inputSize]`, drawn from a normal distribution, and a zero bias.
  public init(
    _ name: String, inputSize: Int, outputSize: Int, hasBias: Bool = false,
    standardDeviation: Double = 0.02
  ) {
    self.weight = Parameter(
      "\(name).weight", shape: [outputSize, inputSize], kind: .matrix,
      initializer: .normal(standardDeviation: standardDeviation))
    self.bias =
      hasBias
      ? Parameter("\(name).bias", shape: [outputSize], kind: .bias, initializer: .zeros) : nil
  }

  /// The weight, then the bias.
  public var parameters: [Parameter] { [weight] + (bias.map { [$0] } ?? []) }

  /// Returns `[..., outputSize]` for `x` of `[..., inputSize]`.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    Tensor.linear(x, weight: weight.value, bias: bias?.value)
  }
}
