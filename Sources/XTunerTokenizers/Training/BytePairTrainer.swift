internal import XTunerText

/// Learns a byte-level byte-pair vocabulary from text.
///
/// The result depends on the texts only, not on their order or on the machine. Merges are chosen as
/// Hugging Face's `BpeTrainer` does: the most frequent pair first, among equals the pair of smaller
/// ids. Ids: the 256 bytes, then the merges in order, then the special tokens (as Qwen does).
public struct BytePairTrainer {
  /// Ids to give out, special tokens included.
  ///
  /// Fewer are given if the texts run out of pairs.
  public var vocabularySize: Int
  /// Tokens that are never split and never learnt from; found in the text, they only separate.
  public let specialTokens: [String]
  /// A pair seen less often is not merged.
  ///
  /// 2, as most published vocabularies use.
  public var minimumFrequency: Int
  /// The split patterns, applied one after the other.
  public let patterns: [String]
  /// The special token that ends a text, for `tokenizer_config.json`.
  public var endToken: String?
  /// The special token that fills up rows, for `tokenizer_config.json`.
  public var padToken: String?

  private let preTokenizer: PreTokenizer
  private let separators: AddedTokenMatcher
  private let matcher = PatternMatcher()
  private var words = ByteStringTable(capacity: 1 << 12)
  private var counts: [Int] = []

  /// Prepares training; throws if a pattern or a special token cannot be used.
  public init(
    vocabularySize: Int, specialTokens: [String] = [], minimumFrequency: Int = 2,
    patterns: [String] = [TokenizerFamily.qwenPattern], endToken: String? = nil,
    padToken: String? = nil
  ) throws(TokenizerError) {
    guard Set<ExactText>(specialTokens).count == specialTokens.count, !specialTokens.contains("")
    else {
      throw TokenizerError(
        .invalidArgument, key: "specialTokens", "must be different and not empty: \(specialTokens)")
    }
    for token in specialTokens where ByteAlphabet.decode(token)?.count == 1 {
      throw TokenizerError(
        .invalidArgument, key: "specialTokens", "\"\(token)\" is a token of one byte already")
    }
    for token in [endToken, padToken].compactMap({ $0 }) where !specialTokens.containsExactly(token)
    {
      throw TokenizerError(
        .invalidArgument, key: "endToken, padToken", "\"\(token)\" is not one of specialTokens")
    }
    guard vocabularySize >= 256 + specialTokens.count else {
      throw TokenizerError(
        .invalidArgument, key: "vocabularySize",
        "must be at least 256 bytes + \(specialTokens.count) special tokens, is \(vocabularySize)")
    }
    self.vocabularySize = vocabularySize
    self.specialTokens = specialTokens
    self.minimumFrequency = minimumFrequency
    self.patterns = patterns
    self.endToken = endToken
    self.padToken = padToken
    preTokenizer = try PreTokenizer(patterns: patterns, file: "", key: "patterns")
    separators = AddedTokenMatcher(
      specialTokens.enumerated().map { AddedToken(id: Int32($0.offset), content: $0.element) }
    ) { Array($0.content.utf8) }
  }

  /// How many different pieces the texts had so far.
  public var pieceCount: Int { words.count }

  /// Counts the pieces of `text`.
  public mutating func add(_ text: String) {
    var text = text
    var words = words
    var counts = counts
    // Moved out while counting, so that the closures below may change them without a copy.
    self.words = ByteStringTable(capacity: 0)
    self.counts = []
    text.withUTF8 { bytes in
      separators.forEachPart(
        of: bytes,
        text: { part in
          let composed = ComposedText.composed(part)
          func count(_ bytes: UnsafeBufferPointer<UInt8>) {
            preTokenizer.forEachPiece(of: bytes, matcher: matcher) { piece in
              let (index, isNew) = words.insert(piece)
              if isNew { counts.append(1) } else { counts[index] += 1 }
            }
          }
          if let composed { composed.withUnsafeBufferPointer(count) } else { count(part) }
        }, token: { _ in })
    }
    self.words = words
    self.counts = counts
  }

  /// Learns the merges from the pieces counted so far.
  public func train() throws(TokenizerError) -> TrainedTokenizer {
    guard !counts.isEmpty else {
      throw TokenizerError(.invalidArgument, key: "text", "is empty; add text before training")
    }
    var learner = MergeLearner(words: words, counts: counts)
    learner.learn(
      tokenLimit: vocabularySize - specialTokens.count, minimumFrequency: minimumFrequency)
    return TrainedTokenizer(
      tokens: learner.tokens, merges: learner.merges, patterns: patterns,
      specialTokens: specialTokens, endToken: endToken, padToken: padToken)
  }
}
