public import Torch

/// The dense gated feed-forward layer: `down( silu(gate x) * up x )`.
public final class FeedForward: FeedForwardPart {
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

  /// Returns `[T, hidden]` for `x` of `[T, hidden]`.
  public func callAsFunction(_ x: LinearInput) -> Tensor { down(swiGLUOf: gateUp(x)) }

  /// Every token passes the same weights.
  public var routedExperts: RoutedExperts? { nil }

  /// All of them for `feedForward`, none for other kinds.
  public func parameters(of module: Float8Module) -> [Parameter] {
    module == .feedForward ? parameters : []
  }

  /// The one stage of a dense layer.
  public func stages(entry: ResidualEntry) -> [Stage] {
    [
      Stage(.feedForward, inputs: ResidualEntry.inputs, outputs: [.output]) { values, _, _ in
        let (sum, normalizedTD) = entry(values, for: self.gateUp.weight.product)
        return [sum + self(normalizedTD)]
      }
    ]
  }
}

extension StageName {
  /// A dense layer, from attention's output projection on.
  public static let feedForward = StageName("feedForward")
}
