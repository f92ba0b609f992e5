/// What became of a source's records.
public struct TokenizingCounts: Sendable, Equatable, Codable {
  /// Records read.
  public var records = 0
  /// Samples made.
  public var samples = 0
  /// Samples cut to the sequence length.
  public var truncated = 0
  /// Over-long samples left out.
  public var droppedOverlong = 0
  /// Texts that became several samples.
  public var splitTexts = 0
  /// Samples without a label, left out or not.
  public var fullyMasked = 0
  /// Records without a token.
  public var empty = 0
  /// Records that the chat template refused.
  public var failed = 0
  /// Records that the reader left out; known for a whole source only, not for each file.
  public var unreadable = 0

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
