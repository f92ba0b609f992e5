import Dispatch
import Foundation
import Synchronization
import Testing
import XTunerTokenizers

@testable import XTunerData

@Suite struct TokenCacheTests {
  private let options = TokenizingOptions(sequenceLength: 61, modelVocabularySize: 256)

  private func build(
    _ store: TokenCacheStore, _ records: [Record], threads: Int = 2,
    options: TokenizingOptions? = nil
  ) throws -> TokenCacheResult {
    let options = options ?? self.options
    return try store.openOrBuild(
      cacheKey(options), sourceFiles: ["data.jsonl", "chat.jsonl"],
      tokenizer: byteTokenizer(options), threadCount: threads, makeRecords: reader(records))
  }

  private func samples(_ store: some SampleStore) -> [[[Int32]]] {
    (0..<store.count).map { index in
      let sample = store.tokensAndLabels(at: index)
      return [sample.tokens, sample.labels]
    }
  }

  @Test(arguments: [1, 2, 5], [256, 100_000])
  func holdsTheSamplesInOrder(threads: Int, vocabularySize: Int) throws {
    let folder = try ScratchFolder()
    var options = options
    options.modelVocabularySize = vocabularySize
    let tokenizer = byteTokenizer(options)
    let records = records(503)
    let result = try build(
      TokenCacheStore(folder: folder.path), records, threads: threads, options: options)
    var origins: [SampleOrigin] = []
    let expected = InMemorySamples(
      try records.flatMap { record in
        let samples = try tokenizer.tokenize(record).samples
        origins += samples.map { _ in SampleOrigin(file: record.file, line: record.line) }
        return samples
      })
    let cache = result.cache
    #expect(result.isNew && result.rejectedReason == nil)
    #expect(samples(cache) == samples(expected))
    for index in 0..<expected.count {
      #expect(cache.length(at: index) == expected.length(at: index))
      #expect(cache.lossTokenCount(at: index) == expected.lossTokenCount(at: index))
      #expect(cache.contentHash(at: index) == expected.contentHash(at: index))
      #expect(cache.origin(at: index) == origins[index])
      let range = min(3, expected.length(at: index))..<expected.length(at: index)
      #expect(
        cache.labelHash(at: index, range: range) == expected.labelHash(at: index, range: range))
    }
    #expect(cache.sources.map(\.file) == ["data.jsonl", "chat.jsonl"])
    #expect(cache.sources.reduce(0) { $0 + $1.counts.records } == 503)
    var tokens: [Int32] = []
    var labels: [Int32] = []
    cache.append(at: 0, range: 3..<5, tokens: &tokens, labels: &labels)
    #expect(tokens == Array(expected.tokensAndLabels(at: 0).tokens[3..<5]))
    #expect(labels[0] == -100)
  }

  @Test func isFoundAgainWithoutReadingTheData() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let first = try build(store, records(101))
    let second = try store.openOrBuild(
      cacheKey(options), sourceFiles: [], tokenizer: byteTokenizer(options), threadCount: 1,
      makeRecords: {
        Issue.record("the data was read again")
        return { nil }
      })
    #expect(!second.isNew)
    #expect(samples(second.cache) == samples(first.cache))
    #expect(folder.names == [try cacheKey(options).digest()])
  }

  @Test func everyPartOfTheKeyChangesTheDigest() throws {
    let key = cacheKey(options)
    var keys = [key]
    func add(_ change: (inout TokenCacheKey) -> Void) {
      var other = key
      change(&other)
      keys.append(other)
    }
    add { $0.files[0].sha256 = "s2" }
    add { $0.files[0].name = "data.txt" }
    add { $0.files.append($0.files[0]) }
    add { $0.tokenizerHash = "t2" }
    add { $0.template = nil }
    add { $0.options.sequenceLength = 67 }
    add { $0.options.overlong = .drop }
    add { $0.options.overlongTexts = .keep }
    add { $0.options.endOfDocumentToken = 1 }
    add { $0.formatVersion = 2 }
    add { $0.readerParameters["format"] = "alpaca" }
    #expect(Set(try keys.map { try $0.digest() }).count == keys.count)
  }

  enum Damage: String, CaseIterable, Sendable {
    case flippedToken, flippedMask, flippedIndex, flippedManifest, truncatedTokens, emptyIndex,
      missingMask, missingManifest, otherKey, aFileInstead, emptyFolder, foreignManifest
  }

  private func damage(_ kind: Damage, _ cache: String, in folder: ScratchFolder) throws {
    let files = FileManager.default
    func edit(_ name: String, _ change: (inout Data) -> Void) throws {
      let url = URL(fileURLWithPath: "\(cache)/\(name)")
      var data = try Data(contentsOf: url)
      change(&data)
      try data.write(to: url)
    }
    switch kind {
    case .flippedToken: try edit("tokens.bin") { $0[$0.count / 2] ^= 1 }
    case .flippedMask: try edit("mask.bin") { $0[$0.count / 2] ^= 16 }
    case .flippedIndex: try edit("index.bin") { $0[8] ^= 1 }
    case .flippedManifest:
      try edit("meta.json") { data in
        let range = try! #require(data.range(of: Data("\"tokenCount\" : ".utf8)))
        data[range.upperBound] ^= 1
      }
    case .truncatedTokens: try edit("tokens.bin") { $0.removeLast() }
    case .emptyIndex: try edit("index.bin") { $0 = Data() }
    case .missingMask: try files.removeItem(atPath: "\(cache)/mask.bin")
    case .missingManifest: try files.removeItem(atPath: "\(cache)/meta.json")
    case .otherKey:
      var other = cacheKey(options)
      other.tokenizerHash = "t2"
      try files.moveItem(atPath: cache, toPath: "\(folder.path)/\(try other.digest())")
    case .aFileInstead:
      try files.removeItem(atPath: cache)
      try Data("x".utf8).write(to: URL(fileURLWithPath: cache))
    case .emptyFolder:
      try files.removeItem(atPath: cache)
      try files.createDirectory(atPath: cache, withIntermediateDirectories: false)
    case .foreignManifest: try edit("meta.json") { $0 = Data("{}".utf8) }
    }
  }

  @Test(arguments: Damage.allCases)
  func damagedCachesAreRebuiltAndNeverTrusted(_ kind: Damage) throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let expected = samples(try build(store, records(101)).cache)
    var key = cacheKey(options)
    try damage(kind, "\(folder.path)/\(try key.digest())", in: folder)
    if kind == .otherKey { key.tokenizerHash = "t2" }
    let result = try store.openOrBuild(
      key, sourceFiles: [], tokenizer: byteTokenizer(options), threadCount: 2,
      makeRecords: reader(records(101)))
    #expect(result.isNew)
    #expect(result.rejectedReason != nil)
    #expect(samples(result.cache) == expected)
    #expect(folder.names == [try key.digest()], "nothing else is left")
    guard case .found = try store.lookup(key) else {
      Issue.record("the rebuilt cache is not accepted")
      return
    }
  }

  @Test func manyWritersAtOnceAgree() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let records = records(211)
    let results = Mutex<[[[[Int32]]]]>([])
    DispatchQueue.concurrentPerform(iterations: 6) { _ in
      do {
        let cache = try build(store, records, threads: 1).cache
        results.withLock { $0.append(samples(cache)) }
      } catch {
        Issue.record(error)
      }
    }
    let all = results.withLock { $0 }
    #expect(all.count == 6)
    #expect(all.allSatisfy { $0 == all[0] })
    #expect(folder.names == [try cacheKey(options).digest()])
  }

  @Test func anOpenCacheSurvivesItsReplacement() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let cache = try build(store, records(101)).cache
    let before = samples(cache)
    try FileManager.default.removeItem(atPath: cache.folder)
    #expect(samples(cache) == before)
  }

  @Test func foldersOfDeadWritersAreRemovedAndThoseOfLivingOnesKept() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let dead = "\(folder.path)/.dead\(TokenCacheWriter.folderSuffix)"
    try FileManager.default.createDirectory(atPath: dead, withIntermediateDirectories: false)
    try Data().write(to: URL(fileURLWithPath: "\(dead)/\(TokenCacheWriter.lockName)"))
    let starting = "\(folder.path)/.starting\(TokenCacheWriter.folderSuffix)"
    try FileManager.default.createDirectory(atPath: starting, withIntermediateDirectories: false)
    let living = try TokenCacheWriter.makeFolder(in: folder.path, name: "living")
    let writer = try TokenCacheWriter(folder: living, tokenSize: 2, sources: [])
    #expect(store.removeAbandonedFolders() == 1)
    #expect(!folder.names.contains(".dead\(TokenCacheWriter.folderSuffix)"))
    #expect(store.removeAbandonedFolders(startingSeconds: 0) == 1)
    #expect(folder.names.map { "\(folder.path)/\($0)" } == [writer.folder])
  }

  @Test func errorsLeaveNothingBehind() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    #expect(throws: TokenizingError.self) {
      try build(store, records(101) + [chatRecord([("broken", "x")])])
    }
    struct Unreadable: Error {}
    #expect(throws: Unreadable.self) {
      try store.openOrBuild(
        cacheKey(options), sourceFiles: [], tokenizer: byteTokenizer(options), threadCount: 2,
        makeRecords: { { throw Unreadable() } })
    }
    #expect(throws: TokenCacheError.self) {
      try store.openOrBuild(
        cacheKey(options), sourceFiles: [], tokenizer: byteTokenizer(options), threadCount: 2,
        checkSources: { throw TokenCacheError(.sourceChanged, "changed") },
        makeRecords: reader(records(11)))
    }
    #expect(folder.names.isEmpty)
  }

  @Test func emptyAndMostlyMaskedDataAreErrorsThatNameTheFiles() throws {
    let folder = try ScratchFolder()
    let store = TokenCacheStore(folder: folder.path)
    let empty = #expect(throws: TokenizingError.self) { try build(store, []) }
    #expect(empty?.message.contains("data.jsonl, chat.jsonl") == true)
    let masked = #expect(throws: TokenizingError.self) {
      try build(
        store, [chatRecord([("user", "x")]), textRecord("abc"), chatRecord([("user", "y")])])
    }
    #expect(masked?.message.contains("chat.jsonl: 2 of 2") == true)
    #expect(folder.names.isEmpty)
  }

  @Test func aFullDiskIsAClearError() throws {
    var sink = FileSink(descriptor: try OwnedDescriptor(path: "/dev/full", flags: O_WRONLY))
    var failure: TokenCacheError?
    do {
      try sink.append([Int32](repeating: 7, count: 1 << 20))
    } catch {
      failure = error
    }
    #expect(failure?.code == .diskFull)
    #expect(failure?.message.contains("/dev/full: the disk is full") == true)
  }

  @Test func aCacheFolderThatCannotBeMadeIsAClearError() throws {
    let folder = try ScratchFolder()
    let file = "\(folder.path)/file"
    try Data().write(to: URL(fileURLWithPath: file))
    let error = #expect(throws: TokenCacheError.self) {
      try build(TokenCacheStore(folder: "\(file)/cache"), records(5))
    }
    #expect(error?.message.contains("\(file)/cache") == true)
  }

  @Test func progressEndsWithEverything() throws {
    let folder = try ScratchFolder()
    var last = TokenizingProgress()
    let result = try TokenCacheStore(folder: folder.path).openOrBuild(
      cacheKey(options), sourceFiles: [], tokenizer: byteTokenizer(options), threadCount: 2,
      progress: { last = $0 }, makeRecords: reader(records(101)))
    #expect(last.records == 101)
    #expect(last.samples == result.cache.count)
    #expect(last.tokens == result.cache.tokenCount)
  }

  @Test func hashingFilesSeesContentsAndLaterChanges() throws {
    let folder = try ScratchFolder()
    let path = "\(folder.path)/a.txt"
    try Data("abc".utf8).write(to: URL(fileURLWithPath: path))
    let hasher = try DataFileHasher(paths: [path], threadCount: 2)
    #expect(
      hasher.identities == [
        DataFileIdentity(
          name: "a.txt", byteCount: 3,
          sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
      ])
    try hasher.checkUnchanged()
    try Data("abcd".utf8).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: TokenCacheError.self) { try hasher.checkUnchanged() }
    #expect(error?.code == .sourceChanged)
    #expect(throws: TokenCacheError.self) { try DataFileHasher(paths: ["\(path).missing"]) }
  }
}
