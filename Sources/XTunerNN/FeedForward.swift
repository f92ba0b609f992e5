public import Torch

/// The dense gated feed-forward layer: `down( silu(gate x) * up x )`.
public final class FeedForward: Module {
  let gateUp: Linear
  let down: Linear

  /// Declares the weights; gate and up are one matrix, gate rows first.
  public init(_ name: String, hiddenSize: Int, intermediateSize: Int, standardDeviation: Double) {
    self.gateUp = Linear(
      "\(name).gateUp", inputSize: hiddenSize, outputSize: 2 * intermediateSize,
      standardDeviation: standardDeviation, matrixCount: 2)
    self.down = Linear(
      "\(name).down", inputSize: intermediateSize, outputSize: hiddenSize,
      standardDeviation: standardDeviation)
  }

  /// The weights.
  public var parameters: [Parameter] { gateUp.parameters + down.parameters }

  /// What the products of the input are.
  public var inputProduct: Parameter.Product { gateUp.weight.product }

  /// Returns `[T, hidden]` for `x` of `[T, hidden]`.
  public func callAsFunction(_ x: LinearInput) -> Tensor { down(swiGLUOf: gateUp(x)) }
}
