/// How tokens are chosen, and when a sequence ends.
public struct SamplingOptions: Sendable, Hashable {
  /// New tokens of a sequence at most; 0 generates nothing.
  public var maximumTokenCount: Int
  /// Divisor of the logits; 0 takes the most likely token, the first of equals.
  public var temperature: Double
  /// The share of probability that the kept tokens must reach, most likely first; 1 keeps all.
  public var topP: Double
  /// How many of the most likely tokens are kept, and all that equal the last; nil keeps all.
  public var topK: Int?
  /// Texts that end a sequence; they are not part of its text.
  public var stopStrings: [String]
  /// Tokens that end a sequence; they are part of its ids, but not of its text.
  public var stopTokens: Set<Int32>
  /// What all random choices are a function of.
  public var seed: UInt64

  /// Options with the model's own distribution unless told otherwise.
  public init(
    maximumTokenCount: Int = 256, temperature: Double = 1, topP: Double = 1, topK: Int? = nil,
    stopStrings: [String] = [], stopTokens: Set<Int32> = [], seed: UInt64 = 0
  ) {
    self.maximumTokenCount = maximumTokenCount
    self.temperature = temperature
    self.topP = topP
    self.topK = topK
    self.stopStrings = stopStrings
    self.stopTokens = stopTokens
    self.seed = seed
  }

  /// The most likely token every time.
  public static func greedy(
    maximumTokenCount: Int = 256, stopTokens: Set<Int32> = []
  ) -> SamplingOptions {
    SamplingOptions(maximumTokenCount: maximumTokenCount, temperature: 0, stopTokens: stopTokens)
  }

  /// Throws an error that names every option with an impossible value.
  public func validate() throws(GenerationError) {
    var problems: [String] = []
    if maximumTokenCount < 0 {
      problems.append("the maximum token count must be 0 or more, is \(maximumTokenCount)")
    }
    if !(temperature >= 0 && temperature.isFinite) {
      problems.append("the temperature must be 0 (greedy) or more, is \(temperature)")
    }
    if !(topP > 0 && topP <= 1) {
      problems.append("top-p must be above 0 and at most 1, is \(topP)")
    }
    if let topK, topK < 1 {
      problems.append("top-k must be 1 or more, is \(topK); leave it out to keep all tokens")
    }
    if stopStrings.contains("") { problems.append("a stop string must not be empty") }
    guard problems.isEmpty else {
      throw GenerationError(.invalidOption, problems.joined(separator: "; "))
    }
  }
}

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
