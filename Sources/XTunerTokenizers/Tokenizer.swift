internal import Crypto
internal import Foundation
internal import Synchronization
internal import XTunerText

/// Byte-pair encoding of text as Hugging Face `tokenizers` and tiktoken do it, id for id.
///
/// All methods may be called from many threads at once.
public final class Tokenizer: Sendable {
  let files: TokenizerFiles
  let parts: TokenizerParts
  private let rawMatcher: AddedTokenMatcher
  private let normalizedMatcher: AddedTokenMatcher
  private let addedByID: [Int32: AddedToken]
  /// What each added token becomes in decoded text: as the reference, normalised tokens the
  /// normalised way.
  private let addedSpellings: [Int32: [UInt8]]
  private let addedByContent: [ExactText: Int32]
  private let pool = Mutex<[EncodingScratch]>([])

  /// One more than the largest id.
  ///
  /// A model may have more rows than this.
  public let vocabularySize: Int
  /// SHA-256 of the defining files' bytes as lower-case hexadecimal digits, for cache keys.
  public let contentHash: String

  /// Reads a folder with `tokenizer.json` or `tiktoken.model`, or such a file.
  ///
  /// A tiktoken file needs a family: from `tokenizer_config.json` beside it or from the file's name.
  public convenience init(path: String) throws(TokenizerError) {
    try self.init(files: TokenizerFiles(path: path), family: nil)
  }

  /// Reads a folder or file; `family` names the split pattern of a tiktoken file.
  public convenience init(path: String, family: TokenizerFamily) throws(TokenizerError) {
    try self.init(files: TokenizerFiles(path: path), family: family)
  }

  /// Reads the contents of a `tokenizer.json`; `name` stands for the file in errors.
  public convenience init(
    tokenizerJSON bytes: [UInt8], configurationJSON: [UInt8]? = nil, name: String
  ) throws(TokenizerError) {
    try self.init(
      files: TokenizerFiles(
        path: name, name: "tokenizer.json", bytes: bytes, configuration: configurationJSON),
      family: nil)
  }

  init(files: TokenizerFiles, family: TokenizerFamily?) throws(TokenizerError) {
    let parts = try TokenizerParts(files, family: family)
    self.files = files
    self.parts = parts
    let matcher = PatternMatcher()
    var spellings: [Int32: [UInt8]] = [:]
    for token in parts.added {
      let content = Array(token.content.utf8)
      let normalized = content.withUnsafeBufferPointer {
        token.isNormalized ? parts.normalizer?.apply($0, matcher: matcher) : nil
      }
      spellings[token.id] = normalized ?? content
    }
    if let failure = matcher.takeFailure() { throw failure.located(in: files.path) }
    addedSpellings = spellings
    rawMatcher = AddedTokenMatcher(
      parts.added.filter { !$0.isNormalized }, spelling: { spellings[$0.id] ?? [] })
    normalizedMatcher = AddedTokenMatcher(
      parts.added.filter(\.isNormalized), spelling: { spellings[$0.id] ?? [] })
    var byID: [Int32: AddedToken] = [:]
    var byContent: [ExactText: Int32] = [:]
    for token in parts.added {
      byID[token.id] = token
      byContent[token.content] = token.id
    }
    addedByID = byID
    addedByContent = byContent
    let largestAdded = parts.added.map { Int($0.id) + 1 }.max() ?? 0
    vocabularySize = max(parts.model.vocabulary.idLimit, largestAdded)
    var hash = SHA256()
    hash.update(data: files.bytes)
    if let configuration = files.configuration { hash.update(data: configuration) }
    // Only where they matter, so that caches of other tokenizers stay valid.
    for token in parts.namedTokens { hash.update(data: Array(token.fingerprint.utf8)) }
    if let family { hash.update(data: Array(family.rawValue.utf8)) }
    contentHash = hash.finalize().map { byte in
      let hex = String(byte, radix: 16)
      return hex.count == 1 ? "0" + hex : hex
    }.joined()
  }

  /// The folder the tokenizer was read from; nil if it was made in memory.
  public var folder: String? { files.folder }

  /// Writes the defining file and those beside it that say more about its tokens into `folder`.
  public func save(to folder: String) throws(TokenizerError) { try files.save(to: folder) }

  /// The files that `save` writes, by name.
  public var savedFiles: [(name: String, bytes: [UInt8])] { files.saved }

  // MARK: - Single tokens

  /// The id of `token`, added or of the vocabulary as its file spells it; nil if there is none.
  public func id(of token: String) -> Int32? {
    if let id = addedByContent[token] { return id }
    if parts.model.holdsRawBytes {
      guard let bytes = ByteAlphabet.decode(token) else { return nil }
      return bytes.withUnsafeBufferPointer { parts.model.vocabulary.id(of: $0) }
    }
    return parts.model.vocabulary.id(of: token)
  }

  /// The token of `id` as its file spells it (byte alphabet for tiktoken); nil if there is none.
  public func token(of id: Int32) -> String? {
    if let added = addedByID[id] { return added.content }
    guard let bytes = parts.model.vocabulary.bytes(of: id) else { return nil }
    if parts.model.holdsRawBytes { return ByteAlphabet.encode(bytes) }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether `id` is an added token, special or not: found in texts as a whole, never put together
  /// from pieces.
  public func isAdded(_ id: Int32) -> Bool { addedByID[id] != nil }

  /// What people should know about the files, such as keys of `tokenizer_config.json` that are not
  /// known here.
  public var notes: [String] { parts.notes }

  /// Whether `id` is a special token, which `skipSpecialTokens` leaves out.
  public func isSpecial(_ id: Int32) -> Bool { addedByID[id]?.isSpecial == true }

  // MARK: - Encoding

  /// The ids of `text`; with `addSpecialTokens` also those the post-processor puts around it.
  ///
  /// - Throws: `TokenizerError` where a pattern or normalizer of the file takes too long on the text
  ///   or makes too much of it.
  public func encode(
    _ text: String, addSpecialTokens: Bool = false
  ) throws(TokenizerError) -> [Int32] {
    var text = text
    return try text.withUTF8 { result(wellFormed: $0, addSpecialTokens) }.get()
  }

  /// The ids of UTF-8 `bytes`; every ill-formed part counts as U+FFFD.
  ///
  /// - Throws: As `encode(_:addSpecialTokens:)`.
  public func encode(
    utf8 bytes: some Collection<UInt8>, addSpecialTokens: Bool = false
  ) throws(TokenizerError) -> [Int32] {
    try result(utf8: bytes, addSpecialTokens: addSpecialTokens).get()
  }

  /// What `encode` returns or throws, for closures that cannot throw.
  func result(
    utf8 bytes: some Collection<UInt8>, addSpecialTokens: Bool = false
  ) -> Result<[Int32], TokenizerError> {
    let known = bytes.withContiguousStorageIfAvailable { result(anyBytes: $0, addSpecialTokens) }
    return known
      ?? Array(bytes).withUnsafeBufferPointer { result(anyBytes: $0, addSpecialTokens) }
  }

  private func result(
    anyBytes bytes: UnsafeBufferPointer<UInt8>, _ addSpecialTokens: Bool
  ) -> Result<[Int32], TokenizerError> {
    guard UTF8Text.firstInvalid(bytes) != nil else {
      return result(wellFormed: bytes, addSpecialTokens)
    }
    return UTF8Text.repaired(bytes).withUnsafeBufferPointer {
      result(wellFormed: $0, addSpecialTokens)
    }
  }

  private func result(
    wellFormed bytes: UnsafeBufferPointer<UInt8>, _ addSpecialTokens: Bool
  ) -> Result<[Int32], TokenizerError> {
    let scratch = pool.withLock { $0.popLast() } ?? EncodingScratch()
    let output = scratch.output
    if addSpecialTokens { for id in parts.postProcessor.before { output.append(id) } }
    if parts.splitsLongText, bytes.count > LongText.chunkSize {
      for chunk in LongText.chunks(of: bytes) { encode(chunk, scratch) }
    } else {
      encode(bytes, scratch)
    }
    if addSpecialTokens { for id in parts.postProcessor.after { output.append(id) } }
    let ids = output.array
    output.removeAll()
    let failure = scratch.matcher.takeFailure()
    // What was found out about pieces while matching failed is not kept.
    if failure == nil { pool.withLock { $0.append(scratch) } }
    return failure.map { .failure($0.located(in: files.path)) } ?? .success(ids)
  }

  private func encode(_ bytes: UnsafeBufferPointer<UInt8>, _ scratch: EncodingScratch) {
    let output = scratch.output
    rawMatcher.forEachPart(
      of: bytes, text: { encodePlain($0, scratch) }, token: { output.append($0) })
  }

  /// Encodes text without raw added tokens.
  private func encodePlain(_ bytes: UnsafeBufferPointer<UInt8>, _ scratch: EncodingScratch) {
    if let rewritten = parts.normalizer?.apply(bytes, matcher: scratch.matcher) {
      rewritten.withUnsafeBufferPointer { encodeNormalized($0, scratch) }
    } else {
      encodeNormalized(bytes, scratch)
    }
  }

  private func encodeNormalized(
    _ bytes: UnsafeBufferPointer<UInt8>, _ scratch: EncodingScratch
  ) {
    let output = scratch.output
    let model = parts.model
    normalizedMatcher.forEachPart(
      of: bytes,
      text: { text in
        parts.preTokenizer.forEachPiece(of: text, matcher: scratch.matcher) { piece in
          model.encode(piece, scratch)
        }
      },
      token: { output.append($0) })
  }

  // MARK: - Decoding

  /// The text of `ids`; ill-formed bytes become U+FFFD, ids without a token are left out.
  ///
  /// - Throws: `TokenizerError` where a pattern of the file's decoder takes too long on the text, or
  ///   where the decoder makes too much of it.
  public func decode(
    _ ids: [Int32], skipSpecialTokens: Bool = false
  ) throws(TokenizerError) -> String {
    if parts.decoder.isConcatenation {
      var bytes: [UInt8] = []
      for id in ids { bytes += decodedBytes(of: id, skipSpecialTokens: skipSpecialTokens) }
      return UTF8Text.string(bytes)
    }
    let tokens = ids.compactMap { tokenBytes(of: $0, skipSpecialTokens: skipSpecialTokens) }
    do throws(TokenizerError) {
      return try parts.decoder.decode(tokens)
    } catch {
      throw error.located(in: files.path)
    }
  }

  /// Makes a decoder for ids that arrive one by one.
  public func makeStreamDecoder(skipSpecialTokens: Bool) -> StreamDecoder {
    StreamDecoder(tokenizer: self, skipSpecialTokens: skipSpecialTokens)
  }

  /// The bytes that `id` adds to the text; only where the decoder is a concatenation.
  func decodedBytes(of id: Int32, skipSpecialTokens: Bool) -> [UInt8] {
    guard let token = tokenBytes(of: id, skipSpecialTokens: skipSpecialTokens) else { return [] }
    // tiktoken files keep added tokens apart, so only those of tokenizer.json use the alphabet.
    return TokenDecoder.bytes(of: token[...], isRaw: parts.model.holdsRawBytes)
  }

  private func tokenBytes(of id: Int32, skipSpecialTokens: Bool) -> [UInt8]? {
    if let added = addedByID[id] {
      return added.isSpecial && skipSpecialTokens ? nil : addedSpellings[id]
    }
    return parts.model.vocabulary.bytes(of: id).map { Array($0) }
  }
}
