/// How far tokenising has come.
public struct TokenizingProgress: Sendable, Equatable {
  /// Records read and tokenised.
  public var records = 0
  /// Samples made.
  public var samples = 0
  /// Tokens in them.
  public var tokens = 0
}

/// A cache and how it came about.
public struct TokenCacheResult: Sendable {
  /// The cache.
  public let cache: TokenCache
  /// Whether it was tokenised now rather than found.
  public let isNew: Bool
  /// Why a cache on disk was not used; nil when it was, or when there was none.
  public let rejectedReason: String?
}

extension TokenCacheStore {
  /// Records tokenised as one piece of work: enough to make a thread's hand-over cheap.
  private static let recordsPerBatch = 32
  private static let largestTwoByteVocabulary = 65_536

  /// The cache of a key: found and checked, or made from the records.
  ///
  /// - Parameters:
  ///   - key: Everything the samples depend on.
  ///   - sourceFiles: Paths of the data files in reading order.
  ///   - tokenizer: Turns records into samples, on `threadCount` threads.
  ///   - threadCount: Threads that tokenise; this thread reads and writes.
  ///   - checkSources: Called before the cache is published; throws when a data file has changed.
  ///   - progress: Called on this thread now and then.
  ///   - unreadableCount: Records that the reader has left out; called after the last record.
  ///   - unusedKeys: Keys of the records that nothing reads; called after the last record.
  ///   - makeRecords: Opens the data; the closure it returns gives the next record, nil at the end.
  /// - Returns: The cache, checked.
  /// - Throws: An error of the reader, a `TokenizingError` (also for data that is empty or mostly
  ///   without labels), or a `TokenCacheError`; then no part of a new cache is left.
  public func openOrBuild(
    _ key: TokenCacheKey,
    sourceFiles: [String],
    tokenizer: SampleTokenizer,
    threadCount: Int,
    checkSources: () throws -> Void = {},
    progress: (TokenizingProgress) -> Void = { _ in },
    unreadableCount: () -> Int = { 0 },
    unusedKeys: () -> [String] = { [] },
    makeRecords: () throws -> (() throws -> Record?)
  ) throws -> TokenCacheResult {
    let digest = try key.digest()
    var rejectedReason: String?
    switch try lookup(digest: digest, verification: verification) {
    case .found(let cache):
      try key.options.check(cache.sources)
      return TokenCacheResult(cache: cache, isNew: false, rejectedReason: nil)
    case .unusable(let reason):
      rejectedReason = reason
    case .absent:
      break
    }
    try makeFolder()
    removeAbandonedFolders()
    let size = tokenizer.options.modelVocabularySize ?? .max
    let unfinished = try TokenCacheWriter.makeFolder(in: folder, name: digest)
    do {
      let writer = try TokenCacheWriter(
        folder: unfinished, tokenSize: size <= Self.largestTwoByteVocabulary ? 2 : 4,
        sources: sourceFiles)
      let finished = try write(
        writer, key: key, digest: digest, tokenizer: tokenizer, threadCount: threadCount,
        checkSources: checkSources, progress: progress, unreadableCount: unreadableCount,
        unusedKeys: unusedKeys, nextRecord: makeRecords())
      let cache = try publish(finished, digest: digest)
      return TokenCacheResult(cache: cache, isNew: true, rejectedReason: rejectedReason)
    } catch {
      removeFolder(unfinished)
      throw error
    }
  }

  private struct Batch: Sendable {
    var records: [(record: TokenizedRecord, file: String, line: Int)]
  }

  private func write(
    _ writer: consuming TokenCacheWriter, key: TokenCacheKey, digest: String,
    tokenizer: SampleTokenizer, threadCount: Int, checkSources: () throws -> Void,
    progress: (TokenizingProgress) -> Void, unreadableCount: () -> Int, unusedKeys: () -> [String],
    nextRecord: () throws -> Record?
  ) throws -> String {
    var counts = TokenizingProgress()
    try OrderedWorkers.run(
      threadCount: threadCount,
      next: {
        var records: [Record] = []
        while records.count < Self.recordsPerBatch, let record = try nextRecord() {
          records.append(record)
        }
        return records.isEmpty ? nil : records
      },
      transform: { (records: [Record]) in
        Batch(
          records: try records.map { record in
            (try tokenizer.tokenize(record), record.file, record.line)
          })
      },
      consume: { batch in
        for (record, file, line) in batch.records {
          try writer.append(record, file: file, line: line)
        }
        counts.records += batch.records.count
        counts.samples = writer.sampleCount
        counts.tokens = writer.tokenCount
        progress(counts)
      })
    try key.options.check(writer.sources)
    try checkSources()
    return try writer.finish(
      key: digest, inputs: key, unreadableCount: unreadableCount(), unusedKeys: unusedKeys())
  }
}
