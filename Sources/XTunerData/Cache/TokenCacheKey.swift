import Crypto
import Foundation

/// A data file as it was when it was hashed.
public struct DataFileIdentity: Sendable, Equatable, Codable {
  /// The file's name without its folder: the suffix chooses the reader.
  public var name: String
  /// Size in bytes.
  public var byteCount: Int
  /// SHA-256 of the contents, in hexadecimal.
  public var sha256: String

  /// Makes an identity from its parts.
  public init(name: String, byteCount: Int, sha256: String) {
    self.name = name
    self.byteCount = byteCount
    self.sha256 = sha256
  }
}

/// Everything that tokenised samples depend on.
///
/// Two equal keys have equal samples.
public struct TokenCacheKey: Sendable, Equatable, Codable {
  /// The layout of the cache's files; a new layout makes new caches.
  public static let currentFormatVersion = 1

  /// The layout of the cache's files.
  public var formatVersion = currentFormatVersion
  /// The data files in the order in which they are read.
  public var files: [DataFileIdentity]
  /// SHA-256 of the tokenizer's defining file.
  public var tokenizerHash: String
  /// The chat template's fingerprint; nil for pre-training text.
  public var template: String?
  /// Sequence length and policies.
  public var options: TokenizingOptions
  /// The reader's settings that change what a file's records are, such as the format.
  public var readerParameters: [String: String]  // own names

  /// Makes a key of the current format version.
  public init(
    files: [DataFileIdentity], tokenizerHash: String, template: String?,
    options: TokenizingOptions, readerParameters: [String: String] = [:]  // own names
  ) {
    self.files = files
    self.tokenizerHash = tokenizerHash
    self.template = template
    self.options = options
    self.readerParameters = readerParameters
  }

  /// The name of the cache's folder: SHA-256 of the key in hexadecimal.
  public func digest() throws -> String {
    SHA256.hash(data: try canonicalJSON(self)).hexadecimal
  }
}

/// JSON with sorted keys: equal values give equal bytes.
func canonicalJSON(_ value: some Encodable) throws -> Data {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  return try encoder.encode(value)
}
