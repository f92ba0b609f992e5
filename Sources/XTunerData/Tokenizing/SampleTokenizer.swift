public import XTunerTokenizers

/// The samples of one record, and what became of it.
public struct TokenizedRecord: Sendable, Equatable {
  /// No sample, one, or the pieces of a split text.
  public var samples: [TokenizedSample]
  /// The record's contribution to the counts.
  public var counts: TokenizingCounts
}

/// Turns records into token ids and loss masks.
///
/// Safe to use from several threads at once.
public struct SampleTokenizer: Sendable {
  /// How records become samples.
  public let options: TokenizingOptions
  private let encode: @Sendable (String) throws -> [Int32]
  private let tokenText: @Sendable (Int32) -> String?
  private let segments: (@Sendable (Conversation) throws -> [ChatSegment])?
  /// Marks of the template that are no tokens; a conversation with one is refused.
  private(set) var missingMarks: [String] = []
  private let templateAdvice: String

  /// Makes a tokenizer of records from closures.
  ///
  /// - Parameters:
  ///   - options: How records become samples.
  ///   - encode: The ids of a text, without any added begin or end token.
  ///   - tokenText: The text of an id, for messages.
  ///   - segments: A conversation's parts with and without loss; nil where there is no template.
  ///   - templateAdvice: What to do about a conversation then.
  public init(
    options: TokenizingOptions,
    encode: @escaping @Sendable (String) throws -> [Int32],
    tokenText: @escaping @Sendable (Int32) -> String? = { _ in nil },
    segments: (@Sendable (Conversation) throws -> [ChatSegment])?,
    templateAdvice: String? = nil
  ) {
    self.options = options
    self.templateAdvice = templateAdvice ?? "name one, or give pre-training text"
    self.encode = encode
    self.tokenText = tokenText
    self.segments = segments
  }

  /// Makes a tokenizer of records; without a template it takes pre-training text only.
  public init(
    options: TokenizingOptions, tokenizer: Tokenizer, template: ChatTemplate?,
    templateAdvice: String? = nil
  ) {
    var segments: (@Sendable (Conversation) throws -> [ChatSegment])?
    if let template {
      segments = { try template.segments($0.messages, tools: $0.tools) }
    }
    self.init(
      options: options,
      encode: { try tokenizer.encode($0, addSpecialTokens: false) },
      tokenText: { tokenizer.token(of: $0) },
      segments: segments, templateAdvice: templateAdvice)
    if let template { missingMarks = Self.missingMarks(template, tokenizer) }
  }

  /// Marks of the template that the tokenizer has no tokens for.
  ///
  /// A tokenizer that cannot encode a mark cannot encode a conversation either, and says so then.
  static func missingMarks(_ template: ChatTemplate, _ tokenizer: Tokenizer) -> [String] {
    (try? template.missingMarks(in: tokenizer)) ?? []
  }

  /// What is wrong with a template whose marks are not tokens.
  static func missingMarks(_ marks: [String], place: String) -> TokenizingError {
    TokenizingError(
      .missingMarks,
      """
      \(place): the chat template writes \(marks.prefix(5).joined(separator: ", ")), which \
      \(marks.count == 1 ? "is no token" : "are no tokens") of this tokenizer and would be learned \
      letter by letter; set data.template to one that fits the tokenizer, or take a tokenizer with \
      these tokens
      """)
  }

  /// The samples of a record under the options' policies.
  ///
  /// Throws `TokenizingError` naming the record's file and line. A text or conversation without
  /// tokens is not an error; it is counted as empty.
  public func tokenize(_ record: Record) throws(TokenizingError) -> TokenizedRecord {
    var result = TokenizedRecord(samples: [], counts: TokenizingCounts())
    result.counts.records = 1
    let whole: TokenizedSample
    let isText: Bool
    switch record.content {
    case .text(let text):
      whole = try textSample(text, record: record)
      isText = true
    case .conversation(let conversation):
      isText = conversation.messages.allSatisfy { $0.role == "pretrain" }
      do {
        whole = try conversationSample(conversation, record: record)
      } catch  where error.code == .renderingFailed && options.onError == .skip {
        result.counts.failed = 1
        return result
      }
    }
    guard !whole.tokens.isEmpty else {
      result.counts.empty = 1
      return result
    }
    try checkVocabulary(whole, record: record)
    var use = TokenUse()
    let fitted = try fit(
      whole, isText: isText, record: record, counts: &result.counts, use: &use)
    let isTruncated = use.cutOff > 0
    for sample in fitted {
      if sample.lossTokenCount == 0 {
        result.counts.fullyMasked += 1
        guard options.fullyMasked == .keep else {
          use.fullyMasked += sample.tokens.count
          use.samplesCutToNothing += isTruncated && whole.lossTokenCount > 0 ? 1 : 0
          continue
        }
      }
      result.counts.truncated += isTruncated ? 1 : 0
      use.kept += sample.tokens.count
      result.samples.append(sample)
    }
    result.counts.samples = result.samples.count
    result.counts.tokens = use
    return result
  }

  private func encoded(_ text: String, _ record: Record) throws(TokenizingError) -> [Int32] {
    do {
      return try encode(text)
    } catch {
      throw TokenizingError(.encodingFailed, "\(record.file):\(record.line): \(error)")
    }
  }

  private func textSample(
    _ text: String, record: Record
  ) throws(TokenizingError) -> TokenizedSample {
    var tokens = try encoded(text, record)
    if let end = options.endOfDocumentToken, !tokens.isEmpty {
      tokens.append(end)
    }
    return TokenizedSample(
      tokens: tokens, lossMask: Array(repeating: true, count: tokens.count))
  }

  /// Neighbouring segments of the same kind are encoded as one text, so that the boundary between
  /// two ids lies only where generation would put it: between a prompt and its answer.
  private func conversationSample(
    _ conversation: Conversation, record: Record
  ) throws(TokenizingError) -> TokenizedSample {
    guard let segments else {
      throw TokenizingError(
        .noTemplate,
        "\(record.file):\(record.line): a conversation needs a chat template: \(templateAdvice)")
    }
    let parts: [ChatSegment]
    do {
      parts = try segments(conversation)
    } catch {
      throw TokenizingError(.renderingFailed, "\(record.file):\(record.line): \(error)")
    }
    let written = missingMarks.filter { mark in parts.contains { $0.text.contains(mark) } }
    guard written.isEmpty else {
      throw Self.missingMarks(written, place: "\(record.file):\(record.line)")
    }
    var sample = TokenizedSample(tokens: [], lossMask: [])
    var index = 0
    while index < parts.count {
      let carriesLoss = parts[index].carriesLoss
      var text = ""
      while index < parts.count && parts[index].carriesLoss == carriesLoss {
        text += parts[index].text
        index += 1
      }
      let tokens = try encoded(text, record)
      sample.tokens += tokens
      sample.lossMask += Array(repeating: carriesLoss, count: tokens.count)
    }
    return sample
  }

  private func checkVocabulary(
    _ sample: TokenizedSample, record: Record
  ) throws(TokenizingError) {
    guard let size = options.modelVocabularySize else { return }
    for id in sample.tokens where id < 0 || Int(id) >= size {
      let text = tokenText(id).map { "\"\($0)\"" } ?? "unknown to the tokenizer"
      throw TokenizingError(
        .tokenOutsideVocabulary,
        """
        \(record.file):\(record.line): token \(id) (\(text)) is outside the model's vocabulary of \
        \(size): use the model's own tokenizer, or a model with a vocabulary of at least \
        \(Int(id) + 1)
        """)
    }
  }

  private func fit(
    _ sample: TokenizedSample, isText: Bool, record: Record, counts: inout TokenizingCounts,
    use: inout TokenUse
  ) throws(TokenizingError) -> [TokenizedSample] {
    guard let limit = options.sequenceLength, sample.tokens.count > limit else { return [sample] }
    let policy = isText ? options.overlongTexts ?? options.overlong : options.overlong
    switch policy {
    case .keep:
      counts.splitTexts += isText ? 1 : 0
      return [sample]
    case .drop:
      counts.droppedOverlong += 1
      use.droppedOverlong += sample.tokens.count
      return []
    case .truncate:
      use.cutOff += sample.tokens.count - limit
      return [sample.prefix(limit)]
    case .split where isText:
      counts.splitTexts += 1
      return stride(from: 0, to: sample.tokens.count, by: limit).map { start in
        let end = min(start + limit, sample.tokens.count)
        return TokenizedSample(
          tokens: Array(sample.tokens[start..<end]), lossMask: Array(sample.lossMask[start..<end]))
      }
    case .split, .error:
      let advice =
        policy == .split
        ? "a conversation cannot be split; use overlong \"auto\", \"truncate\" or \"drop\""
        : "raise the sequence length, or use overlong \"truncate\" or \"drop\""
      throw TokenizingError(
        .overlongSample,
        """
        \(record.file):\(record.line): the sample has \(sample.tokens.count) tokens, more than the \
        sequence length \(limit): \(advice)
        """)
    }
  }
}
