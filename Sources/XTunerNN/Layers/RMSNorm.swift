public import Torch

/// Root-mean-square normalisation over the last dim, with the mean in float32.
public final class RMSNorm: Module {
  let weight: Parameter
  let epsilon: Double

  /// Declares the weight `[size]`, ones.
  public init(_ name: String, size: Int, epsilon: Double) {
    self.weight = Parameter("\(name).weight", shape: [size], kind: .norm, initializer: .ones)
    self.epsilon = epsilon
  }

  /// Declares the norm of the hidden states.
  public convenience init(_ name: String, _ sizes: BlockSizes) {
    self.init(name, size: sizes.hiddenSize, epsilon: sizes.normEpsilon)
  }

  /// The weight.
  public var parameters: [Parameter] { [weight] }

  /// Returns a tensor of the shape and dtype of `x`, `[..., size]`.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    x.rmsNorm(weight: weight.value, epsilon: epsilon)
  }

  /// The normalised rows, for layers with such products: where those are of float8, the rows are quantised
  /// in the same pass, once for all of them.
  public func callAsFunction(_ x: Tensor, for product: Parameter.Product) -> LinearInput {
    guard case .float8 = product else { return LinearInput(self(x)) }
    let made = x.quantizedRMSNorm(weight: weight.value, epsilon: epsilon)
    return LinearInput(made.normalized, quantized: made.quantized)
  }

  /// The sum of `x` and `residual`, and what the norm makes of it for layers with such products, in one
  /// pass.
  public func adding(
    _ residual: Tensor, to x: Tensor, for product: Parameter.Product = .compute
  ) -> (sum: Tensor, normalized: LinearInput) {
    guard case .float8 = product else {
      let made = x.addingThenRMSNorm(residual, weight: weight.value, epsilon: epsilon)
      return (made.sum, LinearInput(made.normalized))
    }
    let made = x.quantizedRMSNorm(adding: residual, weight: weight.value, epsilon: epsilon)
    return (made.sum, LinearInput(made.normalized, quantized: made.quantized))
  }

  /// Normalises the heads of `x`, `[T, heads, size]`, then rotates them, in one pass.
  public func normalizeThenRotate(_ x: Tensor, _ rotary: RotaryTable) -> Tensor {
    x.rmsNormThenRotated(
      weight: weight.value, epsilon: epsilon, cosine: rotary.cosine, sine: rotary.sine,
      isInterleaved: rotary.isInterleaved)
  }
}
