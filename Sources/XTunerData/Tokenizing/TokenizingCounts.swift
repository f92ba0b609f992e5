/// What became of a source's records.
///
/// `truncated` is a part of `samples`; `droppedOverlong` and samples left out as `fullyMasked` are not.
public struct TokenizingCounts: Sendable, Equatable, Codable {
  /// Records read.
  public var records = 0
  /// Samples made.
  public var samples = 0
  /// Samples that were cut to the sequence length and are among `samples`.
  public var truncated = 0
  /// Over-long samples left out.
  public var droppedOverlong = 0
  /// Texts longer than the sequence length that are trained in pieces.
  public var splitTexts = 0
  /// Samples without a label, left out or not.
  public var fullyMasked = 0
  /// Records without a token.
  public var empty = 0
  /// Records that the chat template refused.
  public var failed = 0
  /// Records that the reader left out; known for a whole source only, not for each file.
  public var unreadable = 0
  /// What became of the tokens; nil where a cache of an earlier version does not say.
  public var tokens: TokenUse? = TokenUse()

  /// Makes counts of zero.
  public init() {}

  /// The share of samples without a label among those that were not left out for another reason.
  ///
  /// Zero when there are none.
  public func maskedShare(_ policy: MaskedSamplePolicy) -> Double {
    let candidates = policy == .drop ? samples + fullyMasked : samples
    return candidates == 0 ? 0 : Double(fullyMasked) / Double(candidates)
  }

  /// Adds the counts of another part of the data.
  public static func += (sum: inout TokenizingCounts, part: TokenizingCounts) {
    sum.records += part.records
    sum.samples += part.samples
    sum.truncated += part.truncated
    sum.droppedOverlong += part.droppedOverlong
    sum.splitTexts += part.splitTexts
    sum.fullyMasked += part.fullyMasked
    sum.empty += part.empty
    sum.failed += part.failed
    sum.unreadable += part.unreadable
    guard let own = sum.tokens, let other = part.tokens else {
      sum.tokens = nil
      return
    }
    sum.tokens = own + other
  }
}

/// What became of a source's tokens.
public struct TokenUse: Sendable, Equatable, Codable {
  /// Tokens of the samples.
  public var kept = 0
  /// Tokens behind the sequence length, cut off.
  public var cutOff = 0
  /// Tokens of over-long samples that were left out.
  public var droppedOverlong = 0
  /// Tokens of samples without a label that were left out, without what was cut off them.
  public var fullyMasked = 0
  /// Samples that had a label before they were cut, and were left out because none remained.
  public var samplesCutToNothing = 0

  /// Makes counts of zero.
  public init() {}

  /// Tokens that are in no sample.
  public var lost: Int { cutOff + droppedOverlong + fullyMasked }

  static func + (first: TokenUse, second: TokenUse) -> TokenUse {
    var sum = first
    sum.kept += second.kept
    sum.cutOff += second.cutOff
    sum.droppedOverlong += second.droppedOverlong
    sum.fullyMasked += second.fullyMasked
    sum.samplesCutToNothing += second.samplesCutToNothing
    return sum
  }
}

/// The counts of one file.
public struct FileCounts: Sendable, Equatable, Codable {
  /// The file's path, as the reader gave it.
  public var file: String
  /// What became of its records.
  public var counts: TokenizingCounts

  /// Makes the counts of one file.
  public init(file: String, counts: TokenizingCounts = TokenizingCounts()) {
    self.file = file
    self.counts = counts
  }
}
