public import Torch

/// Cosines and sines of the rotary position embedding for the tokens of a pack.
public struct RotaryTable {
  /// `[T, d/2]`, float32.
  public let cosine: Tensor
  /// `[T, d/2]`, float32.
  public let sine: Tensor
  /// Whether pairs are (2i, 2i+1) instead of (i, i + d/2).
  public let isInterleaved: Bool

  /// Computes the table: angles are `position * inverseFrequency` in float32, whatever the model's
  /// dtype, with `inverseFrequencies` `[d/2]`, or `[T, d/2]` where tokens have their own; both functions are multiplied by `factor` (YaRN's attention factor, otherwise 1).
  public init(
    positions: Tensor, inverseFrequencies: Tensor, factor: Double = 1, isInterleaved: Bool = false
  ) {
    let angles = positions.to(.float32).unsqueezed(dim: 1) * inverseFrequencies
    let cosine = angles.cos()
    let sine = angles.sin()
    self.cosine = factor == 1 ? cosine : cosine * factor
    self.sine = factor == 1 ? sine : sine * factor
    self.isInterleaved = isInterleaved
  }

  /// Rotates the heads of `x`, `[T, heads, d]`.
  public func rotate(_ x: Tensor) -> Tensor {
    x.rotated(cosine: cosine, sine: sine, isInterleaved: isInterleaved)
  }
}
