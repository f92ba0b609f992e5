public import Torch
public import XTunerNN

// Shape legend for this file:
//   R rows in expert order   D hidden   E experts   I expert width

/// All experts of a layer as grouped matrix products: no capacity, no drop, no padding.
public final class Experts: Module {
  let gateUp: Parameter
  let down: Parameter

  /// Declares `gateUp` `[E, 2 I, D]`, gate rows first, and `down` `[E, D, I]`.
  public init(
    _ name: String, expertCount: Int, hiddenSize: Int, expertSize: Int, standardDeviation: Double
  ) {
    let initializer = Parameter.Initializer.normal(standardDeviation: standardDeviation)
    self.gateUp = Parameter(
      "\(name).gateUp.weight", shape: [expertCount, 2 * expertSize, hiddenSize], kind: .matrix,
      initializer: initializer, role: .expert,
      tensorSplit: Parameter.TensorSplit(dim: 1, blockCount: 2))
    self.down = Parameter(
      "\(name).down.weight", shape: [expertCount, hiddenSize, expertSize], kind: .matrix,
      initializer: initializer, role: .expert,
      tensorSplit: Parameter.TensorSplit(dim: 2, blockCount: 1))
  }

  /// The weights.
  public var parameters: [Parameter] { [gateUp, down] }

  /// Returns `[R, D]` for rows `[R, D]` in expert order; experts without rows are ordinary.
  public func callAsFunction(_ rowsRD: Tensor, offsetsE: Tensor) -> Tensor {
    down.groupedLinear(
      swiGLUOf: gateUp.groupedLinear(rowsRD, offsetsE: offsetsE), offsetsE: offsetsE)
  }
}
