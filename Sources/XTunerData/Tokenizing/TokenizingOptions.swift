/// What happens to a sample longer than the sequence length.
public enum OverlongPolicy: String, Sendable, Codable, CaseIterable {
  /// The first tokens are kept.
  case truncate
  /// The sample is left out and counted.
  case drop
  /// Tokenising stops with an error that names the sample.
  case error
  /// Pre-training text becomes several samples; a conversation is an error.
  case split
  /// The sample stays whole, to be cut later: by the packing mode `split` or as ``SamplePieces``.
  case keep
}

/// What happens to a sample without a label.
public enum MaskedSamplePolicy: String, Sendable, Codable, CaseIterable {
  /// The sample is left out and counted.
  case drop
  /// The sample is kept and counted; it costs time and teaches nothing.
  case keep
}

/// How records become samples.
public struct TokenizingOptions: Sendable, Equatable, Codable {
  /// The most tokens of a sample; nil means no limit.
  public var sequenceLength: Int?
  /// What happens to longer samples.
  public var overlong: OverlongPolicy
  /// What happens to longer texts; nil for the same as to conversations.
  public var overlongTexts: OverlongPolicy?
  /// What happens to samples without a label.
  public var fullyMasked: MaskedSamplePolicy
  /// The share of fully masked samples above which the data set is refused.
  public var maximumMaskedShare: Double
  /// Ends each pre-training text; nil means that nothing is added.
  public var endOfDocumentToken: Int32?
  /// Token ids of the model's embedding, nil for no check.
  ///
  /// An id at or above it is an error, whatever `onError` says.
  public var modelVocabularySize: Int?
  /// What happens to a record that cannot be read or that the chat template refuses.
  public var onError: ErrorPolicy

  /// Makes options; without arguments every sample is kept whole.
  public init(
    sequenceLength: Int? = nil, overlong: OverlongPolicy = .truncate,
    overlongTexts: OverlongPolicy? = nil, fullyMasked: MaskedSamplePolicy = .drop,
    maximumMaskedShare: Double = 0.5,
    endOfDocumentToken: Int32? = nil, modelVocabularySize: Int? = nil,
    onError: ErrorPolicy = .stop
  ) {
    self.sequenceLength = sequenceLength
    self.overlong = overlong
    self.overlongTexts = overlongTexts
    self.fullyMasked = fullyMasked
    self.maximumMaskedShare = maximumMaskedShare
    self.endOfDocumentToken = endOfDocumentToken
    self.modelVocabularySize = modelVocabularySize
    self.onError = onError
  }
}
