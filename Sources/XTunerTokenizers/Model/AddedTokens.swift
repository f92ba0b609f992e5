/// A token that is found in the text before merging.
struct AddedToken: Sendable, Equatable {
  var id: Int32
  var content: String
  var isSpecial = true
  /// Whether it is looked for in the normalised text instead of the text as given.
  var isNormalized = false
  /// Whether it counts only where no word character touches it.
  var isSingleWord = false
  /// Whether it swallows the white space in front of it.
  var stripsLeft = false
  /// Whether it swallows the white space after it.
  var stripsRight = false

  init(id: Int32, content: String, isSpecial: Bool = true) {
    self.id = id
    self.content = content
    self.isSpecial = isSpecial
  }

  /// Reads an element of `added_tokens`, or a value of `added_tokens_decoder` whose key is `id`.
  init(_ node: ConfigurationNode, id: Int? = nil) throws(TokenizerError) {
    try node.allowOnly(keysOf: "added token")
    let number: Int
    if let id { number = id } else { number = try node.required("id").count() }
    self.id = Int32(number)
    content = try node.required("content").string()
    isSpecial = try node.bool("special", default: false)
    isNormalized = try node.bool("normalized", default: !isSpecial)
    isSingleWord = try node.bool("single_word", default: false)
    stripsLeft = try node.bool("lstrip", default: false)
    stripsRight = try node.bool("rstrip", default: false)
  }

  /// Id, content and flags as a text, for hashes.
  var fingerprint: String {
    "\(id) \(content.utf8.count) \(content) \(isSpecial) \(isNormalized) \(isSingleWord) \(stripsLeft) "
      + "\(stripsRight)\n"
  }
}

/// Finds added tokens in text: leftmost first, longest at each place.
struct AddedTokenMatcher: Sendable {
  private struct Node: Sendable {
    var children: [(byte: UInt8, node: Int32)] = []
    var token: Int32 = -1
  }

  private var nodes = [Node()]
  private var isFirstByte = [Bool](repeating: false, count: 256)
  private let tokens: [AddedToken]

  /// A matcher for `tokens`, each spelled as `spelling` gives it.
  init(_ tokens: [AddedToken], spelling: (AddedToken) -> [UInt8]) {
    self.tokens = tokens
    for (index, token) in tokens.enumerated() {
      let bytes = spelling(token)
      guard let first = bytes.first else { continue }
      isFirstByte[Int(first)] = true
      var node = 0
      for byte in bytes { node = child(of: node, byte) }
      if nodes[node].token < 0 { nodes[node].token = Int32(index) }
    }
  }

  var isEmpty: Bool { tokens.isEmpty }

  private mutating func child(of node: Int, _ byte: UInt8) -> Int {
    if let found = nodes[node].children.first(where: { $0.byte == byte }) { return Int(found.node) }
    nodes.append(Node())
    nodes[node].children.append((byte, Int32(nodes.count - 1)))
    return nodes.count - 1
  }

  /// Calls `text` for every stretch between tokens that is not empty, and `token` for every token.
  func forEachPart(
    of bytes: UnsafeBufferPointer<UInt8>,
    text: (UnsafeBufferPointer<UInt8>) -> Void, token: (Int32) -> Void
  ) {
    var done = 0
    var position = 0
    while let match = nextMatch(bytes, from: position) {
      position = match.end
      let found = tokens[match.token]
      if found.isSingleWord, Self.touchesWord(bytes, match.start, match.end) { continue }
      var start = max(match.start, done)
      var end = max(match.end, done)
      if found.stripsLeft { start = max(Self.beforeSpace(bytes, start), done) }
      if found.stripsRight { end = Self.afterSpace(bytes, end) }
      if done < start { text(UnsafeBufferPointer(rebasing: bytes[done..<start])) }
      token(found.id)
      done = end
      position = max(position, done)
    }
    if done < bytes.count { text(UnsafeBufferPointer(rebasing: bytes[done...])) }
  }

  private func nextMatch(
    _ bytes: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> (start: Int, end: Int, token: Int)? {
    isFirstByte.withUnsafeBufferPointer { isFirstByte in
      var index = start
      while index < bytes.count {
        if isFirstByte[Int(bytes[index])], let match = match(bytes, at: index) {
          return (index, match.end, match.token)
        }
        index += 1
      }
      return nil
    }
  }

  private func match(
    _ bytes: UnsafeBufferPointer<UInt8>, at start: Int
  ) -> (end: Int, token: Int)? {
    nodes.withUnsafeBufferPointer { nodes in
      var best: (end: Int, token: Int)?
      var node = 0
      var index = start
      walk: while index < bytes.count {
        let byte = bytes[index]
        for child in nodes[node].children where child.byte == byte {
          node = Int(child.node)
          index += 1
          if nodes[node].token >= 0 { best = (index, Int(nodes[node].token)) }
          continue walk
        }
        return best
      }
      return best
    }
  }

  // MARK: - Words and white space around a token; rare, so through strings

  private static func touchesWord(
    _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int
  ) -> Bool {
    let before = scalarBefore(bytes, start)
    let after = String(decoding: bytes[end..<min(end + 4, bytes.count)], as: UTF8.self)
      .unicodeScalars.first
    return before.map(isWord) == true || after.map(isWord) == true
  }

  private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark:
      return true
    default:
      return scalar.properties.isAlphabetic || scalar.properties.isJoinControl
    }
  }

  private static func scalarBefore(
    _ bytes: UnsafeBufferPointer<UInt8>, _ end: Int
  ) -> Unicode.Scalar? {
    guard end > 0 else { return nil }
    var start = end - 1
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return String(decoding: bytes[start..<end], as: UTF8.self).unicodeScalars.first
  }

  private static func beforeSpace(_ bytes: UnsafeBufferPointer<UInt8>, _ end: Int) -> Int {
    var result = end
    while let scalar = scalarBefore(bytes, result), scalar.properties.isWhitespace {
      result -= UTF8.width(scalar)
    }
    return result
  }

  private static func afterSpace(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    var result = start
    while result < bytes.count {
      let ahead = bytes[result..<min(result + 4, bytes.count)]
      guard let scalar = String(decoding: ahead, as: UTF8.self).unicodeScalars.first,
        scalar.properties.isWhitespace
      else { return result }
      result += UTF8.width(scalar)
    }
    return result
  }
}
