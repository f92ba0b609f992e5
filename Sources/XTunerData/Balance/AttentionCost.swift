/// The work of attention layers that see equally far: a cost for each pair of tokens that attend to
/// each other.
public struct AttentionCost: Sendable, Hashable, Codable {
  /// Floating-point operations a visible pair, over all layers that this describes.
  public var perPair: Double
  /// Tokens visible to a query, itself included; nil where it sees every earlier token.
  public var window: Int?

  /// Makes the cost of layers that see `window` tokens, or all earlier ones.
  public init(perPair: Double, window: Int? = nil) {
    precondition(window ?? 1 > 0, "a window must be positive, is \(window ?? 0)")
    self.perPair = perPair
    self.window = window
  }

  /// Pairs of a query and a token that it sees, in one sequence of `length` tokens.
  ///
  /// Exact: `L (L + 1) / 2`, less what lies behind the window.
  public func visiblePairs(length: Int) -> Double {
    let seen = min(window ?? length, length)
    // The first `seen` queries see a triangle, every later one exactly `seen` tokens.
    return Double(seen) * Double(seen + 1) / 2 + Double(length - seen) * Double(seen)
  }
}
