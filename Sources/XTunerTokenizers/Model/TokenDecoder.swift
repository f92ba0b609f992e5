/// Turns token strings back into text, as the `decoder` of a tokenizer file says.
indirect enum TokenDecoder: Sendable {
  /// Tokens are written in the byte alphabet.
  case byteLevel
  /// `<0x41>` tokens are bytes.
  case byteFallback
  /// All tokens become one.
  case fuse
  case replace(CompiledPattern, with: [UInt8])
  case strip(content: [UInt8], start: Int, stop: Int)
  case sequence([TokenDecoder])
  /// Tokens are raw bytes (tiktoken).
  case rawBytes
  /// No decoder in the file: tokens are joined with spaces.
  case joinedWithSpaces

  /// Reads the `decoder` key.
  static func read(_ node: ConfigurationNode) throws(TokenizerError) -> TokenDecoder {
    let type = try node.type(of: "decoder")
    switch type {
    case "ByteLevel": return .byteLevel
    case "ByteFallback": return .byteFallback
    case "Fuse": return .fuse
    case "Replace":
      return .replace(
        try PatternSource.read(node.required("pattern")),
        with: Array(try node.required("content").string().utf8))
    case "Strip":
      return .strip(
        content: Array(try node.required("content").string().utf8),
        start: try node.required("start").count(), stop: try node.required("stop").count())
    case "Sequence":
      var parts: [TokenDecoder] = []
      for element in try node.required("decoders").elements() { parts.append(try read(element)) }
      return .sequence(parts)
    default:
      throw node.error(
        .unsupported,
        "the decoder \(type) is not implemented; known are ByteLevel, ByteFallback, Fuse, "
          + "Replace, Strip, Sequence")
    }
  }

  /// Whether the text is the tokens' bytes put together, so it can be decoded token by token.
  var isConcatenation: Bool {
    switch self {
    case .byteLevel, .rawBytes: true
    case .sequence(let parts): parts.count == 1 && parts[0].isConcatenation
    case .byteFallback, .fuse, .replace, .strip, .joinedWithSpaces: false
    }
  }

  /// The bytes a token stands for; only where `isConcatenation`.
  static func bytes(of token: ArraySlice<UInt8>, isRaw: Bool) -> [UInt8] {
    if isRaw { return Array(token) }
    let text = String(decoding: token, as: UTF8.self)
    return ByteAlphabet.decode(text) ?? Array(token)
  }

  /// The text of `tokens`, each given as UTF-8.
  ///
  /// Throws where a pattern of the decoder takes too long, or where the text grows without bound.
  func decode(_ tokens: [[UInt8]]) throws(TokenizerError) -> String {
    if case .joinedWithSpaces = self {
      return UTF8Text.string(Array(tokens.joined(separator: [0x20])))
    }
    let limit = Normalizer.outputLimit(byteCount: tokens.reduce(0) { $0 + $1.count })
    let matcher = PatternMatcher()
    let result = apply(tokens, limit: limit, matcher: matcher)
    if let failure = matcher.takeFailure() { throw failure }
    return UTF8Text.string(Array(result.joined()))
  }

  private func apply(_ tokens: [[UInt8]], limit: Int, matcher: PatternMatcher) -> [[UInt8]] {
    switch self {
    case .byteLevel:
      let bytes = tokens.flatMap { Self.bytes(of: $0[...], isRaw: false) }
      return [Array(UTF8Text.string(bytes).utf8)]
    case .fuse: return [Array(tokens.joined())]
    case .byteFallback: return Self.joinBytes(tokens)
    case .strip(let content, let start, let stop):
      return tokens.map { Self.strip($0, content, start: start, stop: stop) }
    case .replace(let pattern, let content):
      return tokens.map { token in
        token.withUnsafeBufferPointer { bytes in
          Normalizer.replace(pattern, with: String(decoding: content, as: UTF8.self))
            .apply(bytes, matcher: matcher) ?? token
        }
      }
    case .sequence(let parts):
      var result = tokens
      for part in parts {
        result = part.apply(result, limit: limit, matcher: matcher)
        guard result.reduce(0, { $0 + $1.count }) <= limit else {
          matcher.fail(
            TokenizerError(
              .unsupported, key: "decoder", "makes more than \(limit) bytes of the tokens of a text"
            ))
          return []
        }
      }
      return result
    case .rawBytes, .joinedWithSpaces: return tokens
    }
  }

  private static func joinBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var pending: [UInt8] = []
    func flush() {
      guard !pending.isEmpty else { return }
      let isValid = pending.withUnsafeBufferPointer { UTF8Text.firstInvalid($0) == nil }
      // Not the usual substitution: the reference writes one U+FFFD for each byte.
      if isValid {
        result.append(pending)
      } else {
        for _ in pending { result.append(UTF8Text.replacement) }
      }
      pending = []
    }
    for token in tokens {
      if let byte = fallbackByte(token) {
        pending.append(byte)
      } else {
        flush()
        result.append(token)
      }
    }
    flush()
    return result
  }

  /// The byte of a token such as `<0x41>`, or nil.
  private static func fallbackByte(_ token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">")
    else { return nil }
    return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
  }

  private static func strip(
    _ token: [UInt8], _ content: [UInt8], start: Int, stop: Int
  ) -> [UInt8] {
    guard !content.isEmpty else { return token }
    var rest = token[...]
    var (start, stop) = (start, stop)
    while start > 0, rest.starts(with: content) {
      rest = rest.dropFirst(content.count)
      start -= 1
    }
    while stop > 0, rest.suffix(content.count).elementsEqual(content) {
      rest = rest.dropLast(content.count)
      stop -= 1
    }
    return Array(rest)
  }
}
