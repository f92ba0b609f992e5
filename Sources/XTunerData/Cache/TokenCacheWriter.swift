import Foundation
import Glibc
import XTunerText

/// Writes a cache into a folder of its own, which becomes the cache when it is complete.
///
/// The folder carries a locked file while its writer lives; the kernel frees the lock when the
/// process ends in any way, so that others can tell abandoned folders from growing ones.
struct TokenCacheWriter: ~Copyable {
  static let folderSuffix = ".incomplete"
  static let lockName = "owner.lock"

  let folder: String
  private let lock: OwnedDescriptor
  private let tokenSize: Int
  private var tokens: FileSink
  private var mask: FileSink

  private var maskByte: UInt8 = 0
  private var offsets: [UInt64] = [0]
  private var hashes: [UInt64] = []
  private var lossCounts: [UInt32] = []
  private var fileIndices: [UInt32] = []
  private var lines: [UInt32] = []
  private var lossTokenCount = 0
  private(set) var sources: [FileCounts]
  private var sourceIndices: [ExactText: Int]

  /// Makes a new folder in `root`; the name never collides with another writer's.
  static func makeFolder(in root: String, name: String) throws(TokenCacheError) -> String {
    let folder = "\(root)/.\(name.prefix(16))-\(UUID().uuidString)\(folderSuffix)"
    guard mkdir(folder, 0o777) == 0 else {
      throw TokenCacheError.system("make the cache folder", path: folder, errno: errno)
    }
    return folder
  }

  /// Starts the files of a cache.
  ///
  /// - Parameters:
  ///   - folder: A folder from `makeFolder`.
  ///   - tokenSize: 2 or 4 bytes a token.
  ///   - sources: The data files in reading order, so that files without a record count too.
  /// - Throws: `TokenCacheError` of the file system.
  init(folder: String, tokenSize: Int, sources: [String]) throws(TokenCacheError) {
    // Locked under another name first: under its own name the file is never seen unlocked.
    let startingName = "\(Self.lockName).starting"
    let lock = try Self.create(startingName, in: folder)
    guard lock.tryLock() else {
      throw TokenCacheError(
        .fileSystem, "\(lock.path): cannot be locked; put the cache on a disk with file locks")
    }
    guard rename("\(folder)/\(startingName)", "\(folder)/\(Self.lockName)") == 0 else {
      throw TokenCacheError.system("rename", path: lock.path, errno: errno)
    }
    let tokens = FileSink(descriptor: try Self.create(TokenCacheManifest.tokensName, in: folder))
    let mask = FileSink(descriptor: try Self.create(TokenCacheManifest.maskName, in: folder))
    self.folder = folder
    self.lock = lock
    self.tokens = tokens
    self.mask = mask
    self.tokenSize = tokenSize
    self.sources = sources.map { FileCounts(file: $0) }
    sourceIndices = Dictionary(
      zip(sources.lazy.map { ExactText($0) }, 0...), uniquingKeysWith: { first, _ in first })
  }

  var tokenCount: Int { Int(offsets[offsets.count - 1]) }

  var sampleCount: Int { hashes.count }

  /// Adds a record's samples and counts.
  ///
  /// A file that was not announced is added.
  mutating func append(
    _ record: TokenizedRecord, file: String, line: Int
  ) throws(TokenCacheError) {
    let source = index(ofFile: file)
    sources[source].counts += record.counts
    for sample in record.samples {
      try append(sample)
      fileIndices.append(UInt32(source))
      lines.append(UInt32(clamping: line))
    }
  }

  /// Completes the files; the folder is then ready to be renamed.
  consuming func finish(
    key: String, inputs: TokenCacheKey, unreadableCount: Int, unusedKeys: [String]
  ) throws -> String {
    if tokenCount & 7 != 0 {
      try mask.append(maskByte)
    }
    var index = FileSink(descriptor: try Self.create(TokenCacheManifest.indexName, in: folder))
    try index.append(offsets)
    try index.append(hashes)
    try index.append(lossCounts)
    try index.append(fileIndices)
    try index.append(lines)
    let manifest = TokenCacheManifest(
      key: key, inputs: inputs, sampleCount: sampleCount, tokenCount: tokenCount,
      lossTokenCount: lossTokenCount, tokenSize: tokenSize, tokens: try tokens.finish(),
      mask: try mask.finish(), index: try index.finish(), sources: sources,
      unreadableCount: unreadableCount, unusedKeys: unusedKeys)
    var meta = FileSink(descriptor: try Self.create(TokenCacheManifest.fileName, in: folder))
    try meta.append(Array(manifest.encoded()))
    _ = try meta.finish()
    unlink("\(folder)/\(Self.lockName)")
    try OwnedDescriptor(path: folder, flags: O_RDONLY | O_DIRECTORY).synchronize()
    return folder
  }

  private static func create(
    _ name: String, in folder: String
  ) throws(TokenCacheError) -> OwnedDescriptor {
    try OwnedDescriptor(path: "\(folder)/\(name)", flags: O_CREAT | O_EXCL | O_WRONLY)
  }

  private mutating func index(ofFile file: String) -> Int {
    if let known = sourceIndices[file] {
      return known
    }
    sources.append(FileCounts(file: file))
    sourceIndices[file] = sources.count - 1
    return sources.count - 1
  }

  private mutating func append(_ sample: TokenizedSample) throws(TokenCacheError) {
    if tokenSize == 2 {
      try tokens.append(sample.tokens.map { UInt16($0) })
    } else {
      try tokens.append(sample.tokens)
    }
    var position = tokenCount
    for isLabel in sample.lossMask {
      maskByte |= (isLabel ? 1 : 0) << UInt8(position & 7)
      position += 1
      if position & 7 == 0 {
        try mask.append(maskByte)
        maskByte = 0
      }
    }
    offsets.append(UInt64(position))
    hashes.append(contentHash(of: sample.tokens))
    lossCounts.append(UInt32(sample.lossTokenCount))
    lossTokenCount += sample.lossTokenCount
  }
}
