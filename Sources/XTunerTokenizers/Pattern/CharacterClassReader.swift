/// A bracketed class, as Oniguruma and Rust's `regex` write it: ranges, sets, nested classes and
/// intersections.
///
/// PCRE2 has no nesting, so what does not fit one bracket becomes a group.
struct CharacterClassReader {
  private var isNegated = false
  private var items = ""
  /// Patterns of one character each, of which any may match in addition to `items`.
  private var others: [String] = []
  /// Patterns of one character each, all of which must match too.
  private var restrictions: [String] = []

  /// Reads the class at the translator's position.
  static func read(
    _ translator: inout PatternTranslator
  ) throws(TokenizerError) -> CharacterClassReader {
    _ = translator.consume("[")
    var reader = CharacterClassReader()
    reader.isNegated = translator.consume("^")
    return try translator.nested { translator throws(TokenizerError) in
      try reader.readBody(&translator)
      return reader
    }
  }

  /// One character of the class as a PCRE2 pattern.
  var pattern: String {
    if others.isEmpty, restrictions.isEmpty { return "[\(isNegated ? "^" : "")\(items)]" }
    let union = unionPattern
    let all = restrictions.map { "(?=\($0))" }.joined() + union
    return isNegated ? "(?:(?!\(all))\\p{Any})" : "(?:\(all))"
  }

  private var unionPattern: String {
    let own = items.isEmpty ? [] : ["[\(items)]"]
    let parts = own + others
    return parts.count == 1 ? parts[0] : "(?:\(parts.joined(separator: "|")))"
  }

  private mutating func readBody(_ translator: inout PatternTranslator) throws(TokenizerError) {
    var isFirst = true
    while true {
      guard let scalar = translator.current else { throw translator.failure("an unclosed class") }
      if scalar == "]", !isFirst {
        translator.index += 1
        guard !items.isEmpty || !others.isEmpty else { throw translator.failure("an empty class") }
        return
      }
      isFirst = false
      if translator.hasPrefix("[:") { throw translator.failure("a POSIX class [:...:]") }
      if translator.consume("&&") {
        try readIntersection(&translator)
        return
      }
      if scalar == "[" {
        others.append(try Self.read(&translator).pattern)
        continue
      }
      try readItem(&translator)
    }
  }

  /// What follows `&&` up to the end of the class.
  private mutating func readIntersection(
    _ translator: inout PatternTranslator
  ) throws(TokenizerError) {
    let right = try translator.nested { translator throws(TokenizerError) in
      var right = CharacterClassReader()
      try right.readBody(&translator)
      return right
    }
    restrictions.append(right.pattern)
  }

  private mutating func readItem(_ translator: inout PatternTranslator) throws(TokenizerError) {
    guard let first = try readScalarOrSet(&translator) else { return }
    guard translator.hasPrefix("-"), !translator.hasPrefix("-]"), !translator.hasPrefix("-[") else {
      items += PatternTranslator.quoted(first)
      return
    }
    translator.index += 1
    guard let last = try readScalarOrSet(&translator), last.value >= first.value else {
      throw translator.failure("a range that does not go up")
    }
    items += "\(PatternTranslator.quoted(first))-\(PatternTranslator.quoted(last))"
  }

  /// A plain character, or nil after a set such as `\p{L}` was added.
  private mutating func readScalarOrSet(
    _ translator: inout PatternTranslator
  ) throws(TokenizerError) -> Unicode.Scalar? {
    guard let scalar = translator.current else { throw translator.failure("an unclosed class") }
    translator.index += 1
    guard scalar == "\\" else { return scalar }
    let escape = try translator.escape()
    if let scalar = escape.scalar { return scalar }
    guard escape.isSet else { throw translator.failure("an anchor inside a class") }
    if escape.isNegated {
      others.append(escape.pattern)
    } else {
      items += escape.content
    }
    return nil
  }
}
