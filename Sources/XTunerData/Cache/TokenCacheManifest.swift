import Crypto
import Foundation

/// Size and checksum of one file of a cache.
struct TokenCacheFile: Sendable, Equatable, Codable {
  var byteCount: Int
  var sha256: String
}

/// What `meta.json` of a cache says; its own checksum stands beside it.
///
/// All numbers in the files are little-endian.
/// - `tokens.bin`: all token ids, 2 bytes each for vocabularies up to 65,536, else 4.
/// - `mask.bin`: one bit a token, lowest bit first; 1 means label.
/// - `index.bin`: first token of each sample and the end (u64), content hash of each sample (u64),
///   loss tokens (u32), source file (u32), line (u32).
struct TokenCacheManifest: Sendable, Equatable, Codable {
  static let fileName = "meta.json"
  static let tokensName = "tokens.bin"
  static let maskName = "mask.bin"
  static let indexName = "index.bin"

  private struct Envelope: Codable {
    var sha256: String
    var manifest: TokenCacheManifest
  }

  var formatVersion: Int
  /// The digest of `inputs`.
  var key: String
  var inputs: TokenCacheKey
  var sampleCount: Int
  var tokenCount: Int
  var lossTokenCount: Int
  /// Bytes of a token in `tokens.bin`: 2 or 4.
  var tokenSize: Int
  var tokens: TokenCacheFile
  var mask: TokenCacheFile
  var index: TokenCacheFile
  var sources: [FileCounts]
  /// Records that the reader left out.
  var unreadableCount: Int
  /// Keys of the records that nothing reads; nil in caches from before they were noted.
  var unusedKeys: [String]?

  /// The manifest as the file's bytes.
  func encoded() throws -> Data {
    let digest = SHA256.hash(data: try canonicalJSON(self)).hexadecimal
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    return try encoder.encode(Envelope(sha256: digest, manifest: self))
  }

  /// Reads a manifest; throws a sentence about what is wrong with it.
  init(decoding data: Data, path: String) throws(TokenCacheError) {
    do {
      let envelope = try JSONDecoder().decode(Envelope.self, from: data)
      let digest = SHA256.hash(data: try canonicalJSON(envelope.manifest)).hexadecimal
      guard digest == envelope.sha256 else {
        throw TokenCacheError(.unusable, "\(path): its checksum does not match")
      }
      self = envelope.manifest
    } catch let error as TokenCacheError {
      throw error
    } catch {
      throw TokenCacheError(.unusable, "\(path): is not a readable manifest")
    }
  }

  init(
    key: String, inputs: TokenCacheKey, sampleCount: Int, tokenCount: Int, lossTokenCount: Int,
    tokenSize: Int, tokens: TokenCacheFile, mask: TokenCacheFile, index: TokenCacheFile,
    sources: [FileCounts], unreadableCount: Int, unusedKeys: [String]
  ) {
    self.formatVersion = inputs.formatVersion
    self.key = key
    self.inputs = inputs
    self.sampleCount = sampleCount
    self.tokenCount = tokenCount
    self.lossTokenCount = lossTokenCount
    self.tokenSize = tokenSize
    self.tokens = tokens
    self.mask = mask
    self.index = index
    self.sources = sources
    self.unreadableCount = unreadableCount
    self.unusedKeys = unusedKeys
  }

  /// Bytes that `index.bin` has for this many samples.
  static func indexByteCount(sampleCount: Int) -> Int {
    8 * (sampleCount + 1) + (8 + 3 * 4) * sampleCount
  }
}
