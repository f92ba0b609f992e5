import Foundation
import Glibc

/// How far a cache found on disk is checked before it is used.
public enum CacheVerification: String, Sendable, Codable, CaseIterable {
  /// Key, sizes, the index's order and the SHA-256 of every file; about a second for each gigabyte.
  case full
  /// Key, sizes and the index's order; a flipped byte in the tokens goes unnoticed.
  case sizes
}

/// Tokenised samples in memory-mapped files, read from any thread.
///
/// Nothing is copied until a pack is made. Files deleted or replaced after opening stay readable.
public final class TokenCache: SampleStore {
  /// The cache's folder when it was opened.
  public let folder: String
  /// Tokens in all samples.
  public let tokenCount: Int
  /// Tokens that carry loss in all samples.
  public let lossTokenCount: Int
  /// What became of each data file's records.
  public let sources: [FileCounts]
  /// What became of all records.
  public let counts: TokenizingCounts
  /// Keys of the records that hold something nothing reads, such as `messages[].train`.
  public let unusedKeys: [String]

  private let sampleCount: Int
  private let tokenSize: Int
  private let tokens: MappedFile
  private let mask: MappedFile
  private let index: MappedFile

  /// Opens a cache and checks it.
  ///
  /// - Parameters:
  ///   - folder: The cache's folder.
  ///   - key: The key's digest that the cache must have been made for; nil accepts any.
  ///   - verification: How far the files are checked.
  /// - Throws: `TokenCacheError`: `notFound`, `unusable` with the reason, or one of the file system.
  init(
    folder: String, key: String?, verification: CacheVerification
  ) throws(TokenCacheError) {
    self.folder = folder
    // Every file is opened relative to one folder descriptor: a folder that is replaced meanwhile
    // can never give files of two caches.
    let root = try OwnedDescriptor(path: folder, flags: O_RDONLY | O_DIRECTORY)
    let meta = try MappedFile(
      OwnedDescriptor(name: TokenCacheManifest.fileName, in: root, flags: O_RDONLY))
    let manifest = try TokenCacheManifest(decoding: Data(meta.bytes), path: meta.path)
    try manifest.check(key: key, path: meta.path)
    tokens = try Self.open(
      TokenCacheManifest.tokensName, in: root, expecting: manifest.tokens, verification)
    mask = try Self.open(
      TokenCacheManifest.maskName, in: root, expecting: manifest.mask, verification)
    index = try Self.open(
      TokenCacheManifest.indexName, in: root, expecting: manifest.index, verification)
    sampleCount = manifest.sampleCount
    tokenCount = manifest.tokenCount
    lossTokenCount = manifest.lossTokenCount
    tokenSize = manifest.tokenSize
    sources = manifest.sources
    var counts = TokenizingCounts()
    for source in manifest.sources {
      counts += source.counts
    }
    counts.unreadable = manifest.unreadableCount
    self.counts = counts
    unusedKeys = manifest.unusedKeys ?? []
    try checkIndex()
    if verification == .full {
      try checkTokens(vocabularySize: manifest.inputs.options.modelVocabularySize)
    }
  }

  /// Samples in the cache.
  public var count: Int { sampleCount }

  /// Tokens of a sample.
  public func length(at index: Int) -> Int {
    Int(offsets[index + 1] - offsets[index])
  }

  /// Tokens of a sample that carry loss.
  public func lossTokenCount(at index: Int) -> Int {
    Int(words(0)[index])
  }

  /// A hash of the sample's token ids.
  public func contentHash(at index: Int) -> UInt64 {
    self.index.elements(UInt64.self, at: 8 * (sampleCount + 1), count: sampleCount)[index]
  }

  /// A hash of which tokens of `range` are labels; reads one bit a token.
  public func labelHash(at index: Int, range: Range<Int>) -> UInt64 {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= length(at: index), "range is not in the sample")
    let first = Int(offsets[index]) + range.lowerBound
    return XTunerData.labelHash(bitCount: range.count) { word in
      maskBits(from: first + 64 * word, count: min(64, range.count - 64 * word))
    }
  }

  /// The file and line of the sample's record.
  public func origin(at index: Int) -> SampleOrigin? {
    SampleOrigin(file: sources[Int(words(1)[index])].file, line: Int(words(2)[index]))
  }

  /// Appends tokens `range` of a sample and their labels.
  public func append(
    at index: Int, range: Range<Int>, tokens: inout [Int32], labels: inout [Int32]
  ) {
    let start = Int(offsets[index])
    precondition(
      range.lowerBound >= 0 && range.upperBound <= length(at: index), "range is not in the sample")
    let global = (start + range.lowerBound)..<(start + range.upperBound)
    if tokenSize == 2 {
      let ids = self.tokens.elements(UInt16.self, at: 0, count: tokenCount)
      tokens.append(contentsOf: UnsafeBufferPointer(rebasing: ids[global]).lazy.map { Int32($0) })
    } else {
      let ids = self.tokens.elements(Int32.self, at: 0, count: tokenCount)
      tokens.append(contentsOf: UnsafeBufferPointer(rebasing: ids[global]))
    }
    let first = tokens.count - global.count
    let bits = mask.bytes
    for (offset, position) in global.enumerated() {
      let isLabel = bits[position >> 3] >> UInt8(position & 7) & 1 == 1 && offset > 0
      labels.append(isLabel ? tokens[first + offset] : TokenizedSample.ignoredLabel)
    }
  }

  private var offsets: UnsafeBufferPointer<UInt64> {
    index.elements(UInt64.self, at: 0, count: sampleCount + 1)
  }

  /// Column 0: loss tokens, 1: source file, 2: line.
  private func words(_ column: Int) -> UnsafeBufferPointer<UInt32> {
    let start = 8 * (2 * sampleCount + 1) + 4 * column * sampleCount
    return index.elements(UInt32.self, at: start, count: sampleCount)
  }

  /// Bits of the mask from `position`, 64 at most, the first one lowest.
  private func maskBits(from position: Int, count: Int) -> UInt64 {
    let (first, shift) = (position >> 3, position & 7)
    var bits: UInt64 = 0
    let byteCount = (shift + count + 7) / 8
    for offset in 0..<min(byteCount, 8) {
      bits |= UInt64(mask.bytes[first + offset]) << UInt64(8 * offset)
    }
    bits >>= UInt64(shift)
    if byteCount > 8 {
      bits |= UInt64(mask.bytes[first + 8]) << UInt64(64 - shift)
    }
    return count == 64 ? bits : bits & (1 << UInt64(count) - 1)
  }
  private static func open(
    _ name: String, in root: borrowing OwnedDescriptor, expecting expected: TokenCacheFile,
    _ verification: CacheVerification
  ) throws(TokenCacheError) -> MappedFile {
    let file = try MappedFile(OwnedDescriptor(name: name, in: root, flags: O_RDONLY))
    guard file.bytes.count == expected.byteCount else {
      throw TokenCacheError(
        .unusable, "\(file.path): has \(file.bytes.count) bytes, \(expected.byteCount) expected")
    }
    if verification == .full {
      let digest = file.sha256()
      guard digest == expected.sha256 else {
        throw TokenCacheError(
          .unusable, "\(file.path): SHA-256 is \(digest), \(expected.sha256) expected")
      }
    }
    return file
  }

  /// No index entry can point outside the files, whatever they hold.
  private func checkIndex() throws(TokenCacheError) {
    let offsets = self.offsets
    let (lossCounts, files) = (words(0), words(1))
    var isSound = offsets[0] == 0 && offsets[sampleCount] == UInt64(tokenCount)
    var labelCount = 0
    for sample in 0..<sampleCount where isSound {
      guard offsets[sample] <= offsets[sample + 1] else {
        isSound = false
        break
      }
      let length = offsets[sample + 1] - offsets[sample]
      isSound =
        length <= UInt64(Int32.max) && UInt64(lossCounts[sample]) <= length
        && Int(files[sample]) < sources.count
      labelCount += Int(lossCounts[sample])
    }
    guard isSound else {
      throw TokenCacheError(.unusable, "\(index.path): its entries are out of order")
    }
    guard labelCount == lossTokenCount else {
      throw TokenCacheError(
        .unusable, "\(index.path): has \(labelCount) labels, its manifest \(lossTokenCount)")
    }
  }

  /// No token can be without a row in the embedding.
  private func checkTokens(vocabularySize: Int?) throws(TokenCacheError) {
    let size = vocabularySize ?? Int(Int32.max)
    let found: Int?
    if tokenSize == 2 {
      let ids = tokens.elements(UInt16.self, at: 0, count: tokenCount)
      found = ids.first { Int($0) >= size }.map { Int($0) }
    } else {
      let ids = tokens.elements(Int32.self, at: 0, count: tokenCount)
      found = ids.first { $0 < 0 || Int($0) >= size }.map { Int($0) }
    }
    guard let found else { return }
    throw TokenCacheError(
      .unusable, "\(tokens.path): holds the token \(found), the model has \(size) rows")
  }
}
