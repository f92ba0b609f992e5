import Foundation
import Testing

@testable import XTunerData

/// Caches that somebody changed and signed anew: every checksum is right.
@Suite struct CraftedCacheTests {
  private let options = TokenizingOptions(sequenceLength: 61, modelVocabularySize: 256)

  private func build(_ folder: ScratchFolder) throws -> TokenCacheResult {
    try TokenCacheStore(folder: folder.path).openOrBuild(
      cacheKey(options), sourceFiles: ["data.jsonl", "chat.jsonl"],
      tokenizer: byteTokenizer(options), threadCount: 2, makeRecords: reader(records(53)))
  }

  /// Changes a file of a cache and then its manifest, which gets the file's digest and its own.
  private func sign(
    _ cache: String, _ name: String = "index.bin", _ edit: (inout Data) -> Void = { _ in },
    manifest change: (inout TokenCacheManifest) -> Void = { _ in }
  ) throws {
    let url = URL(fileURLWithPath: "\(cache)/\(name)")
    var data = try Data(contentsOf: url)
    edit(&data)
    try data.write(to: url)
    let meta = URL(fileURLWithPath: "\(cache)/meta.json")
    var manifest = try TokenCacheManifest(decoding: try Data(contentsOf: meta), path: "meta.json")
    let file = TokenCacheFile(
      byteCount: data.count,
      sha256: try MappedFile(OwnedDescriptor(path: url.path, flags: 0)).sha256())
    switch name {
    case "tokens.bin": manifest.tokens = file
    case "mask.bin": manifest.mask = file
    default: manifest.index = file
    }
    change(&manifest)
    try manifest.encoded().write(to: meta)
  }

  private typealias Change = @Sendable (inout TokenCacheManifest) -> Void

  private static let impossible: [(String, Change)] = [
    ("a count of -1", { $0.sampleCount = -1 }),
    ("a count of \(Int.max)", { $0.sampleCount = .max }),
    ("a count of \(Int.max)", { $0.tokenCount = .max }),
    ("a count of \(Int.min)", { $0.tokenCount = .min }),
    ("a count of -3", { $0.lossTokenCount = -3 }),
    ("a count of \(Int.max)", { $0.unreadableCount = .max }),
    ("a count of \(Int.max)", { $0.sources[0].counts.records = .max }),
    ("a count of -7", { $0.sources[1].counts.truncated = -7 }),
    ("contradict", { $0.tokenSize = 0 }),
    ("contradict", { $0.lossTokenCount = $0.tokenCount + 1 }),
    ("labels, its manifest", { $0.lossTokenCount -= 1 }),
    ("out of order", { $0.sources = [] }),
    ("other data or settings", { $0.inputs.options.modelVocabularySize = nil }),
  ]

  @Test func impossibleManifestsAreNotTrusted() throws {
    for (reason, change) in Self.impossible {
      let folder = try ScratchFolder()
      let cache = try build(folder).cache.folder
      try sign(cache, manifest: change)
      let again = try build(folder)
      #expect(again.isNew, "\(reason)")
      #expect(again.rejectedReason?.contains(reason) == true, "\(again.rejectedReason ?? "none")")
    }
  }

  @Test func anIndexOfMoreLabelsThanTokensIsNotTrusted() throws {
    let folder = try ScratchFolder()
    let first = try build(folder)
    let count = first.cache.count
    try sign(first.cache.folder) { data in
      let start = 8 * (2 * count + 1)
      data.replaceSubrange(start..<start + 4, with: [0xFF, 0xFF, 0xFF, 0xFF])
    }
    #expect(try build(folder).rejectedReason?.contains("out of order") == true)
  }

  /// Such a token would be looked up outside of the embedding.
  @Test func aTokenWithoutARowIsNotTrusted() throws {
    let folder = try ScratchFolder()
    let first = try build(folder)
    try sign(first.cache.folder, "tokens.bin") { $0.replaceSubrange(14..<16, with: [0x00, 0x01]) }
    let again = try build(folder)
    #expect(again.rejectedReason?.contains("holds the token 256, the model has 256 rows") == true)
    #expect(again.isNew)
  }

  @Test func anHonestSignatureIsAccepted() throws {
    let folder = try ScratchFolder()
    let first = try build(folder)
    try sign(first.cache.folder)
    #expect(try !build(folder).isNew)
  }
}
