import XTunerTokenizers

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

/// One sequence while it is generated.
struct SequenceState {
  let prompt: [Int32]
  /// Tokens of prompt and answer at most.
  let lengthLimit: Int
  var random: SequenceRandom

  private let options: SamplingOptions
  private(set) var ids: [Int32] = []
  private var text = ""
  private var finishReason: FinishReason?
  private var decoder: StreamDecoder?
  private var scanner: StopTextScanner

  init(
    prompt: [Int32], occurrence: Int, options: SamplingOptions, tokenizer: Tokenizer?,
    contextLimit: Int
  ) {
    self.prompt = prompt
    self.options = options
    // Sums that pass the largest Int are as good as no limit.
    let (sum, hasOverflow) = prompt.count.addingReportingOverflow(options.maximumTokenCount)
    lengthLimit = hasOverflow ? contextLimit : min(sum, contextLimit)
    random = SequenceRandom(seed: options.seed, prompt: prompt, occurrence: occurrence)
    decoder = tokenizer?.makeStreamDecoder(skipSpecialTokens: true)
    scanner = StopTextScanner(options.stopStrings)
  }

  var isFinished: Bool { finishReason != nil }

  /// The token that the next pass begins with.
  var newest: Int32 { ids[ids.count - 1] }

  var result: GeneratedSequence {
    GeneratedSequence(ids: ids, text: text, finishReason: finishReason ?? .maximumTokenCount)
  }

  /// Takes the next token and returns the text that has become certain with it.
  mutating func append(_ id: Int32) throws(TokenizerError) -> String {
    ids.append(id)
    if options.stopTokens.contains(id) { return try finish(.stopToken(id), lastText: "") }
    let found = scanner.append(try decoder?.append(id) ?? "")
    if let stop = found.stop {
      finishReason = .stopString(stop)
      text += found.text
      return found.text
    }
    if ids.count >= options.maximumTokenCount {
      return try finish(.maximumTokenCount, lastText: found.text)
    }
    if prompt.count + ids.count >= lengthLimit {
      return try finish(.contextLimit, lastText: found.text)
    }
    text += found.text
    return found.text
  }

  /// Ends the sequence: what decoder and scanner held back is text now.
  private mutating func finish(
    _ reason: FinishReason, lastText: String
  ) throws(TokenizerError) -> String {
    var rest = lastText
    let found = scanner.append(try decoder?.finish() ?? "")
    rest += found.text
    if let stop = found.stop {
      finishReason = .stopString(stop)
    } else {
      finishReason = reason
      rest += scanner.finish()
    }
    text += rest
    return rest
  }
}

/// Looks for stop strings in text that arrives in pieces, and holds back what may begin one.
struct StopTextScanner {
  private let stops: [[UInt8]]
  private let texts: [String]
  /// Text that was not handed out, since it may be the beginning of a stop string.
  private var held: [UInt8] = []

  init(_ stopStrings: [String]) {
    texts = stopStrings
    stops = stopStrings.map { Array($0.utf8) }
  }

  /// The text that is now certain to come before any stop string, and the stop string that was
  /// found, the one that begins first; text behind it is dropped.
  mutating func append(_ text: String) -> (text: String, stop: String?) {
    guard !stops.isEmpty else { return (text, nil) }
    held += Array(text.utf8)
    for start in held.indices {
      for (stop, name) in zip(stops, texts) where held[start...].starts(with: stop) {
        let before = held[..<start]
        held = []
        return (String(decoding: before, as: UTF8.self), name)
      }
    }
    let start = held.indices.first { start in
      stops.contains { $0.starts(with: held[start...]) }
    }
    let certain = held[..<(start ?? held.endIndex)]
    held = Array(held[certain.endIndex...])
    return (String(decoding: certain, as: UTF8.self), nil)
  }

  /// The text that was held back, when nothing more comes.
  mutating func finish() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }
}
