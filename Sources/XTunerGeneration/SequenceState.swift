import XTunerTokenizers

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
