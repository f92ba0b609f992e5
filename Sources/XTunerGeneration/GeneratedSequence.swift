/// What was generated after one prompt.
public struct GeneratedSequence: Sendable, Hashable {
  /// The tokens, with the stop token that ended them, if one did.
  public var ids: [Int32]
  /// The text of the tokens without special ones, without the stop token and from before the stop
  /// string; empty without a tokenizer.
  public var text: String
  /// Why it ended.
  public var finishReason: FinishReason

  /// A sequence from its parts.
  public init(ids: [Int32], text: String, finishReason: FinishReason) {
    self.ids = ids
    self.text = text
    self.finishReason = finishReason
  }
}

/// Why a sequence ended.
public enum FinishReason: Sendable, Hashable {
  /// The model chose this stop token.
  case stopToken(Int32)
  /// The text reached this stop string.
  case stopString(String)
  /// The options allow no more tokens.
  case maximumTokenCount
  /// The sequence is as long as the model's context.
  case contextLimit

  /// The reason as one word for JSON: `stop` for both kinds of stop, otherwise `length`.
  public var name: String {
    switch self {
    case .stopToken, .stopString: "stop"
    case .maximumTokenCount, .contextLimit: "length"
    }
  }
}
