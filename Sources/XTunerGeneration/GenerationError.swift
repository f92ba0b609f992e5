/// A generation that cannot start or go on.
public struct GenerationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of problem it is.
  public enum Code: String, Sendable, Hashable {
    /// An option has a value that cannot work.
    case invalidOption
    /// A prompt is empty, too long for the model, or has a token that the model has no row for.
    case invalidPrompt
    /// Text is asked for, or stop strings are given, but there is no tokenizer.
    case missingTokenizer
    /// The model does something that generation cannot honour, or has a chat template of no known
    /// family.
    case unsupported
    /// The tokenizer's own patterns or replacements fail on the text.
    case tokenizer
    /// Logits are NaN or infinite.
    case nonFinite
  }

  /// What kind of problem it is.
  public var code: Code
  /// What is wrong, with the value and what would work.
  public var description: String

  /// An error from its parts.
  public init(_ code: Code, _ description: String) {
    self.code = code
    self.description = description
  }
}
