/// A sample as the model sees it: token ids and which of them are labels.
public struct TokenizedSample: Sendable, Equatable {
  /// The label of a token that carries no loss.
  public static let ignoredLabel: Int32 = -100

  /// Token ids.
  public var tokens: [Int32]
  /// One entry a token; true means that the token is a label.
  public var lossMask: [Bool]

  /// Makes a sample; both arrays have the same count.
  public init(tokens: [Int32], lossMask: [Bool]) {
    precondition(tokens.count == lossMask.count, "tokens and lossMask must have the same count")
    self.tokens = tokens
    self.lossMask = lossMask
  }

  /// Tokens that carry loss.
  ///
  /// The first token never does: nothing comes before it.
  public var lossTokenCount: Int {
    lossMask.dropFirst().reduce(0) { $0 + ($1 ? 1 : 0) }
  }

  /// The first `count` tokens.
  func prefix(_ count: Int) -> TokenizedSample {
    TokenizedSample(tokens: Array(tokens.prefix(count)), lossMask: Array(lossMask.prefix(count)))
  }
}
