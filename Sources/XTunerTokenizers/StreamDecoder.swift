/// Decodes ids one by one and never hands out a part of a character.
public struct StreamDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipSpecialTokens: Bool
  /// Bytes of a character that is not complete yet.
  private var pending: [UInt8] = []
  /// Ids since the last text that was handed out whole; for decoders that look at neighbours.
  private var ids: [Int32] = []
  /// How much of `ids` was handed out already, in bytes of its text.
  private var handedOut = 0

  init(tokenizer: Tokenizer, skipSpecialTokens: Bool) {
    self.tokenizer = tokenizer
    self.skipSpecialTokens = skipSpecialTokens
  }

  /// The text that `id` completes; empty while a character lacks bytes.
  ///
  /// - Throws: As `Tokenizer.decode`.
  public mutating func append(_ id: Int32) throws(TokenizerError) -> String {
    guard tokenizer.parts.decoder.isConcatenation else { return try appendWithNeighbours(id) }
    pending += tokenizer.decodedBytes(of: id, skipSpecialTokens: skipSpecialTokens)
    let held = UTF8Text.incompleteSuffixCount(pending)
    let text = UTF8Text.string(Array(pending.dropLast(held)))
    pending = Array(pending.suffix(held))
    return text
  }

  /// The rest: an incomplete character becomes U+FFFD.
  ///
  /// The decoder can be used anew afterwards.
  ///
  /// - Throws: As `Tokenizer.decode`.
  public mutating func finish() throws(TokenizerError) -> String {
    defer {
      pending = []
      ids = []
      handedOut = 0
    }
    guard tokenizer.parts.decoder.isConcatenation else { return rest(of: try currentText()) }
    return UTF8Text.string(pending)
  }

  private func currentText() throws(TokenizerError) -> String {
    try tokenizer.decode(ids, skipSpecialTokens: skipSpecialTokens)
  }

  private func rest(of text: String) -> String {
    String(decoding: text.utf8.dropFirst(handedOut), as: UTF8.self)
  }

  /// Decodes from the first id again, since a decoder such as Strip treats the beginning apart.
  private mutating func appendWithNeighbours(_ id: Int32) throws(TokenizerError) -> String {
    ids.append(id)
    let text = try currentText()
    guard !text.unicodeScalars.reversed().prefix(1).contains("\u{FFFD}") else { return "" }
    let new = rest(of: text)
    handedOut = text.utf8.count
    return new
  }
}
