/// Rewrites text before it is split, as the `normalizer` of a tokenizer file says.
indirect enum Normalizer: Sendable {
  case composed
  case decomposed
  case compatibilityComposed
  case compatibilityDecomposed
  case lowercase
  case prepend(String)
  case replace(CompiledPattern, with: String)
  case strip(left: Bool, right: Bool)
  case sequence([Normalizer])

  /// Reads the `normalizer` key; nil when there is nothing to do.
  static func read(_ node: ConfigurationNode) throws(TokenizerError) -> Normalizer? {
    let type = try node.type(of: "normalizer")
    switch type {
    case "NFC": return .composed
    case "NFD": return .decomposed
    case "NFKC": return .compatibilityComposed
    case "NFKD": return .compatibilityDecomposed
    case "Lowercase": return .lowercase
    case "Prepend": return .prepend(try node.required("prepend").string())
    case "Strip":
      return .strip(
        left: try node.bool("strip_left", default: true),
        right: try node.bool("strip_right", default: true))
    case "Replace":
      let pattern = try PatternSource.read(node.required("pattern"))
      return .replace(pattern, with: try node.required("content").string())
    case "Sequence":
      var parts: [Normalizer] = []
      for element in try node.required("normalizers").elements() {
        if let part = try read(element) { parts.append(part) }
      }
      return parts.isEmpty ? nil : (parts.count == 1 ? parts[0] : .sequence(parts))
    default:
      throw node.error(
        .unsupported,
        "the normalizer \(type) is not implemented; known are NFC, NFD, NFKC, NFKD, Lowercase, "
          + "Prepend, Replace, Strip, Sequence")
    }
  }

  /// Bytes that a text may become: replacements one after the other can double it each time.
  ///
  /// Compatibility forms make at most 11 bytes of one, and 3 of a space.
  static func outputLimit(byteCount: Int) -> Int {
    let (product, hasOverflow) = byteCount.multipliedReportingOverflow(by: 32)
    return hasOverflow ? .max : product + 4096
  }

  /// The rewritten text, or nil when nothing changes.
  ///
  /// Where it grows beyond `outputLimit`, the matcher keeps the error, and the text is worthless.
  func apply(
    _ bytes: UnsafeBufferPointer<UInt8>, matcher: PatternMatcher
  ) -> [UInt8]? {
    apply(bytes, limit: Self.outputLimit(byteCount: bytes.count), matcher: matcher)
  }

  private func apply(
    _ bytes: UnsafeBufferPointer<UInt8>, limit: Int, matcher: PatternMatcher
  ) -> [UInt8]? {
    switch self {
    case .composed: return ComposedText.composed(bytes)
    case .sequence(let parts):
      var result: [UInt8]?
      for part in parts {
        let next = result?.withUnsafeBufferPointer {
          part.apply($0, limit: limit, matcher: matcher)
        }
        if let next {
          result = next
        } else if result == nil {
          result = part.apply(bytes, limit: limit, matcher: matcher)
        }
        guard result?.count ?? 0 <= limit else {
          matcher.fail(Self.growth(limit))
          return []
        }
      }
      return result
    case .replace(let pattern, let content):
      return Self.replace(
        pattern, with: Array(content.utf8), in: bytes, limit: limit, matcher: matcher)
    case .prepend(let prefix):
      return bytes.isEmpty ? nil : Array(prefix.utf8) + Array(bytes)
    case .decomposed, .compatibilityComposed, .compatibilityDecomposed, .lowercase, .strip:
      return rewritten(String(decoding: bytes, as: UTF8.self))
    }
  }

  private func rewritten(_ text: String) -> [UInt8] {
    switch self {
    case .decomposed: return ComposedText.decomposed(text)
    case .compatibilityComposed: return ComposedText.compatibility(text, isComposed: true)
    case .compatibilityDecomposed: return ComposedText.compatibility(text, isComposed: false)
    case .lowercase:
      // Character by character: no final sigma, as in the reference.
      return text.unicodeScalars.flatMap { Array($0.properties.lowercaseMapping.utf8) }
    case .strip(let left, let right):
      var scalars = text.unicodeScalars[...]
      while left, scalars.first?.properties.isWhitespace == true { scalars.removeFirst() }
      while right, scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
      return Array(String(scalars).utf8)
    case .composed, .prepend, .replace, .sequence: return Array(text.utf8)
    }
  }

  private static func growth(_ limit: Int) -> TokenizerError {
    TokenizerError(
      .unsupported, key: "normalizer",
      "makes more than \(limit) bytes of a text; replacements must not multiply it again and again")
  }

  private static func replace(
    _ pattern: CompiledPattern, with content: [UInt8], in bytes: UnsafeBufferPointer<UInt8>,
    limit: Int, matcher: PatternMatcher
  ) -> [UInt8]? {
    guard let base = bytes.baseAddress else { return nil }
    var result: [UInt8] = []
    var copied = 0
    var position = 0
    while position <= bytes.count,
      let match = matcher.firstMatch(of: pattern, in: base, count: bytes.count, from: position)
    {
      guard match.end > match.start else { break }
      result.append(contentsOf: bytes[copied..<match.start])
      result.append(contentsOf: content)
      copied = match.end
      position = match.end
      guard result.count <= limit else {
        matcher.fail(growth(limit))
        return []
      }
    }
    guard copied > 0 else { return nil }
    result.append(contentsOf: bytes[copied...])
    return result
  }
}

/// The `pattern` key of `Split` and `Replace`: `{"String": …}` or `{"Regex": …}`.
enum PatternSource {
  static func read(_ node: ConfigurationNode) throws(TokenizerError) -> CompiledPattern {
    try node.allowOnly(keysOf: "pattern")
    if let regex = try node.member("Regex") {
      return try CompiledPattern(regex.string(), file: node.file, key: regex.key)
    }
    guard let literal = try node.member("String") else {
      throw node.error(.unsupported, "must hold Regex or String")
    }
    let text = try literal.string()
    guard !text.isEmpty else { throw literal.error(.unsupported, "must not be empty") }
    return try CompiledPattern(
      translated: PatternTranslator.literal(text), source: text, file: node.file, key: literal.key)
  }
}
