public import XTunerTokenizers

extension TokenCacheStore {
  /// The cache of a data source: found and checked, or read, tokenised and written.
  ///
  /// Hashes the source's files first, which reads them all once.
  ///
  /// - Parameters:
  ///   - source: The files and their format.
  ///   - tokenizer: The model's tokenizer.
  ///   - template: The chat template; nil for pre-training text.
  ///   - templateAdvice: What to do about a conversation when there is no template.
  ///   - options: How records become samples; `onError` is for the reader too.
  ///   - threadCount: Threads that hash and tokenise.
  ///   - progress: Called on this thread now and then; not at all when the cache is found.
  /// - Returns: The cache, checked.
  /// - Throws: `DataReadError`, `TokenizingError` or `TokenCacheError`; then no part of a new cache
  ///   is left.
  public func openOrBuild(
    source: RecordSource, tokenizer: Tokenizer, template: ChatTemplate?,
    templateAdvice: String? = nil, options: TokenizingOptions, threadCount: Int,
    progress: (TokenizingProgress) -> Void = { _ in }
  ) throws -> TokenCacheResult {
    let files = try source.files()
    let hasher = try DataFileHasher(paths: files, threadCount: threadCount)
    let key = TokenCacheKey(
      files: hasher.identities, tokenizerHash: tokenizer.contentHash,
      template: template?.fingerprint, options: options,
      readerParameters: [
        "format": source.format.rawValue, "textUnit": source.textUnit.rawValue,
        // Counts the changes of what is made of a record.
        "records": "2",
      ])
    var reader: RecordReader?
    return try openOrBuild(
      key, sourceFiles: files,
      tokenizer: SampleTokenizer(
        options: options, tokenizer: tokenizer, template: template,
        templateAdvice: templateAdvice),
      threadCount: threadCount, checkSources: { try hasher.checkUnchanged() }, progress: progress,
      unreadableCount: { reader?.skippedCount ?? 0 },
      unusedKeys: { reader?.unusedKeys ?? [] },
      makeRecords: {
        let opened = try RecordReader(source: source, onError: options.onError)
        reader = opened
        return { try opened.next() }
      })
  }
}
