/// Byte-pair encoding of one piece of text.
///
/// In a byte-level model the first symbols are bytes, otherwise characters.
final class BytePairModel: Sendable {
  /// How a model treats what its vocabulary does not hold.
  struct Options: Sendable {
    var isByteLevel = true
    var ignoresMerges = false
    var usesByteFallback = false
    var fusesUnknown = false
    var unknownToken: String?
  }

  let vocabulary: Vocabulary
  /// Whether the vocabulary holds raw bytes (tiktoken) instead of strings in the byte alphabet.
  let holdsRawBytes: Bool
  let options: Options
  private let merges: MergeTable
  /// Id of each byte, -1 where there is none: single bytes or the `<0x41>` tokens.
  private let byteIDs: [Int32]
  /// Raw bytes of every token, for `ignoresMerges` in byte-level models from `tokenizer.json`.
  private let wholePieces: Vocabulary?
  private let unknownID: Int32

  /// Checks that every text can be spelled with `vocabulary`.
  init(
    vocabulary: Vocabulary, merges: MergeTable, options: Options, holdsRawBytes: Bool, file: String
  ) throws(TokenizerError) {
    self.vocabulary = vocabulary
    self.merges = merges
    self.options = options
    self.holdsRawBytes = holdsRawBytes
    unknownID = try Self.unknownID(vocabulary, options, file: file)
    byteIDs = Self.byteIDs(vocabulary, options, holdsRawBytes: holdsRawBytes)
    if unknownID < 0 { try Self.checkCoverage(byteIDs, options, file: file) }
    wholePieces =
      options.ignoresMerges && options.isByteLevel && !holdsRawBytes
      ? Self.rawBytes(of: vocabulary) : nil
  }

  private static func unknownID(
    _ vocabulary: Vocabulary, _ options: Options, file: String
  ) throws(TokenizerError) -> Int32 {
    guard let token = options.unknownToken else { return -1 }
    guard let id = vocabulary.id(of: token) else {
      throw TokenizerError(
        .inconsistent, file: file, key: "model.unk_token",
        "\"\(token)\" is not in model.vocab; add it there or set unk_token to null")
    }
    return id
  }

  private static func byteIDs(
    _ vocabulary: Vocabulary, _ options: Options, holdsRawBytes: Bool
  ) -> [Int32] {
    (UInt8.min...UInt8.max).map { byte in
      if holdsRawBytes { return [byte].withUnsafeBufferPointer { vocabulary.id(of: $0) } ?? -1 }
      if options.isByteLevel { return vocabulary.id(of: ByteAlphabet.encode([byte])) ?? -1 }
      let hex = String(byte, radix: 16, uppercase: true)
      return vocabulary.id(of: byte < 16 ? "<0x0\(hex)>" : "<0x\(hex)>") ?? -1
    }
  }

  private static func checkCoverage(
    _ byteIDs: [Int32], _ options: Options, file: String
  ) throws(TokenizerError) {
    guard options.isByteLevel || options.usesByteFallback else {
      throw TokenizerError(
        .unsupported, file: file, key: "model",
        "has neither ByteLevel pre-tokenization nor byte_fallback nor unk_token, so text outside "
          + "its vocabulary would be lost")
    }
    // The other bytes never occur in UTF-8.
    let needed = Array(0...0xBF) + Array(0xC2...0xF4)
    let missing = needed.filter { byteIDs[$0] < 0 }
    guard missing.isEmpty else {
      let names = missing.prefix(5).map { "0x" + String($0, radix: 16, uppercase: true) }
      throw TokenizerError(
        .inconsistent, file: file, key: "model.vocab",
        "lacks \(missing.count) of the bytes of UTF-8 (\(names.joined(separator: ", "))...), and "
          + "there is no unk_token; train with the full byte alphabet")
    }
  }

  private static func rawBytes(of vocabulary: Vocabulary) -> Vocabulary {
    var result = Vocabulary(capacity: vocabulary.count)
    for (index, id) in vocabulary.ids.enumerated() {
      let text = String(decoding: vocabulary.table.bytes(at: index), as: UTF8.self)
      guard let bytes = ByteAlphabet.decode(text) else { continue }
      _ = bytes.withUnsafeBufferPointer { result.add($0, id: id) }
    }
    return result
  }

  /// Appends the ids of `piece` to the output of `scratch`.
  @inline(__always)
  func encode(_ piece: UnsafeBufferPointer<UInt8>, _ scratch: EncodingScratch) {
    let output = scratch.output
    guard piece.count <= PieceCache.maximumPieceSize else {
      encodeUncached(piece, scratch)
      return
    }
    let key = PieceCache.Key(piece)
    if scratch.cache.append(key, pieceSize: piece.count, to: output) { return }
    let start = output.count
    encodeUncached(piece, scratch)
    let ids = UnsafeBufferPointer(start: output.base + start, count: output.count - start)
    scratch.cache.store(key, pieceSize: piece.count, ids: ids)
  }

  @inline(never)
  private func encodeUncached(_ piece: UnsafeBufferPointer<UInt8>, _ scratch: EncodingScratch) {
    if options.ignoresMerges, let id = (wholePieces ?? vocabulary).id(of: piece) {
      scratch.output.append(id)
      return
    }
    let merger = scratch.merger
    merger.begin(symbolCount: piece.count + 1)
    if options.isByteLevel {
      addBytes(of: piece, to: merger)
    } else {
      addCharacters(of: piece, to: merger)
    }
    merger.finish(merges, into: scratch.output)
  }

  private func addBytes(of piece: UnsafeBufferPointer<UInt8>, to merger: BytePairMerger) {
    var isUnknownPending = false
    byteIDs.withUnsafeBufferPointer { byteIDs in
      for byte in piece {
        let id = byteIDs[Int(byte)]
        if id >= 0 {
          if isUnknownPending { merger.add(unknownID) }
          isUnknownPending = false
          merger.add(id)
        } else {
          addUnknown(&isUnknownPending, to: merger)
        }
      }
    }
    if isUnknownPending { merger.add(unknownID) }
  }

  private func addCharacters(of piece: UnsafeBufferPointer<UInt8>, to merger: BytePairMerger) {
    var isUnknownPending = false
    var index = 0
    while index < piece.count {
      var end = index + 1
      while end < piece.count, piece[end] & 0xC0 == 0x80 { end += 1 }
      let character = UnsafeBufferPointer(rebasing: piece[index..<end])
      if let id = vocabulary.id(of: character) {
        if isUnknownPending { merger.add(unknownID) }
        isUnknownPending = false
        merger.add(id)
      } else if options.usesByteFallback, character.allSatisfy({ byteIDs[Int($0)] >= 0 }) {
        // The reference leaves an unknown token pending here; so does this.
        for byte in character { merger.add(byteIDs[Int(byte)]) }
      } else {
        addUnknown(&isUnknownPending, to: merger)
      }
      index = end
    }
    if isUnknownPending { merger.add(unknownID) }
  }

  private func addUnknown(_ isPending: inout Bool, to merger: BytePairMerger) {
    if isPending, !options.fusesUnknown { merger.add(unknownID) }
    isPending = true
  }
}

/// Everything one thread needs to encode, kept between calls.
///
/// `@unchecked Sendable`: the pool of the tokenizer hands each to one thread at a time.
final class EncodingScratch: @unchecked Sendable {
  let output = IDBuffer()
  let cache = PieceCache()
  let merger = BytePairMerger()
  let matcher = PatternMatcher()
}
