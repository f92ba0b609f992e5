/// One row of training data: several samples one after another, attention kept within each.
public struct Pack: Sendable, Equatable {
  /// Token ids; at most the sequence length, never padded.
  public var tokens: [Int32]
  /// One label a token, unshifted; -100 means no loss.
  ///
  /// The first of each sample is always -100.
  public var labels: [Int32]
  /// Tokens of each sample; they sum to the token count.
  public var sampleLengths: [Int32]
  /// For each sample the index of its data source.
  public var sources: [Int32]

  /// Makes a pack of parts that fit together.
  public init(tokens: [Int32], labels: [Int32], sampleLengths: [Int32], sources: [Int32]) {
    precondition(tokens.count == labels.count, "one label a token")
    precondition(sampleLengths.count == sources.count, "one source a sample")
    self.tokens = tokens
    self.labels = labels
    self.sampleLengths = sampleLengths
    self.sources = sources
  }

  /// Tokens that carry loss.
  public var lossTokenCount: Int {
    labels.reduce(0) { $0 + ($1 == TokenizedSample.ignoredLabel ? 0 : 1) }
  }
}
