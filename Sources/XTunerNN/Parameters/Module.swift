/// A part of a model that owns parameters.
public protocol Module: AnyObject {
  /// Every parameter of this module and of its children, in a fixed order.
  var parameters: [Parameter] { get }
}

/// What the parts of a block share.
public struct BlockSizes: Sendable, Hashable {
  /// Width of the hidden states.
  public var hiddenSize: Int
  /// Added to the mean square in every norm.
  public var normEpsilon: Double
  /// Standard deviation of the first weights.
  public var standardDeviation: Double

  /// Sizes from their parts.
  public init(hiddenSize: Int, normEpsilon: Double, standardDeviation: Double) {
    self.hiddenSize = hiddenSize
    self.normEpsilon = normEpsilon
    self.standardDeviation = standardDeviation
  }
}
