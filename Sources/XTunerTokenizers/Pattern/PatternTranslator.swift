/// Rewrites a pattern in Oniguruma's Ruby syntax, which `tokenizer.json` files use, or in the
/// `regex` syntax of tiktoken patterns, into a PCRE2 pattern that matches the same text.
///
/// The differences that matter: `\s` is Unicode White_Space (PCRE2 adds U+180E), scripts mean the
/// Script property (PCRE2 means Script_Extensions), classes nest and intersect (`&&`), `{,n}` is a
/// quantifier, `{n,m}+` is not possessive, `^` and `$` are about lines. What is not known is refused.
///
/// Patterns come with models from anywhere: nesting and size are bounded, translation is linear.
struct PatternTranslator {
  /// Nested groups and classes; PCRE2 itself takes 250 groups.
  private static let depthLimit = 200
  /// Characters of a pattern; published ones have some hundreds.
  private static let sizeLimit = 1 << 16
  /// Bytes that escapes may become, such as 2 kB for a word character; PCRE2 takes 64 kB of code.
  private static let expansionLimit = 1 << 20

  let scalars: [Unicode.Scalar]
  private let file: String
  private let key: String
  var index = 0
  private(set) var isCaseless = false
  private var depth = 0
  private var expandedByteCount = 0

  /// The PCRE2 form of `pattern`; `file` and `key` say where it came from, for errors.
  static func translate(
    _ pattern: String, file: String, key: String
  ) throws(TokenizerError) -> String {
    var translator = PatternTranslator(
      scalars: Array(pattern.unicodeScalars), file: file, key: key)
    guard translator.scalars.count <= Self.sizeLimit else {
      throw translator.failure(
        "\(translator.scalars.count) characters, more than \(Self.sizeLimit),")
    }
    let result = try translator.alternatives()
    guard translator.index == translator.scalars.count else {
      throw translator.failure("unmatched )")
    }
    return result
  }

  /// A PCRE2 pattern that matches exactly `text`.
  static func literal(_ text: String) -> String {
    text.unicodeScalars.map(quoted).joined()
  }

  private init(scalars: [Unicode.Scalar], file: String, key: String) {
    self.scalars = scalars
    self.file = file
    self.key = key
  }

  func failure(_ message: String) -> TokenizerError {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return TokenizerError(
      .unsupported, file: file, key: key,
      "\(message) at character \(index) of the pattern \(CompiledPattern.shortened(String(text)))")
  }

  /// Reads what is one level deeper: a group or a class.
  mutating func nested<Result>(
    _ read: (inout PatternTranslator) throws(TokenizerError) -> Result
  ) throws(TokenizerError) -> Result {
    guard depth < Self.depthLimit else {
      throw failure("groups and classes nested more than \(Self.depthLimit) deep")
    }
    depth += 1
    defer { depth -= 1 }
    return try read(&self)
  }

  /// Counts what an escape becomes.
  mutating func expand(_ content: String) throws(TokenizerError) {
    expandedByteCount += content.utf8.count
    guard expandedByteCount <= Self.expansionLimit else {
      throw failure("more than \(Self.expansionLimit) bytes of character sets")
    }
  }

  var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

  func hasPrefix(_ text: String) -> Bool {
    let wanted = Array(text.unicodeScalars)
    return index + wanted.count <= scalars.count
      && Array(scalars[index..<index + wanted.count]) == wanted
  }

  mutating func consume(_ text: String) -> Bool {
    guard hasPrefix(text) else { return false }
    index += text.unicodeScalars.count
    return true
  }

  // MARK: - Expressions

  private mutating func alternatives() throws(TokenizerError) -> String {
    var result = ""
    while let scalar = current, scalar != ")" {
      if scalar == "|" {
        index += 1
        result += "|"
      } else {
        result += try quantified()
      }
    }
    return result
  }

  private mutating func quantified() throws(TokenizerError) -> String {
    let isAnchor = current == "^" || current == "$" || hasPrefix("(?=") || hasPrefix("(?!")
    var result = try atom()
    while let quantifier = try quantifier() {
      guard !isAnchor else { throw failure("a quantifier after an anchor or look-around") }
      // A repeated quantifier applies to the whole, which PCRE2 spells with a group.
      result = quantifier.isRepeated ? "(?:\(result)\(quantifier.text))+" : result + quantifier.text
      if current == "*" || current == "+" || current == "?" {
        throw failure("a quantifier after a quantifier")
      }
    }
    return result
  }

  private mutating func quantifier() throws(TokenizerError) -> (text: String, isRepeated: Bool)? {
    guard let scalar = current else { return nil }
    if scalar == "*" || scalar == "+" || scalar == "?" {
      index += 1
      var text = String(scalar)
      if current == "?" || current == "+" {
        text.unicodeScalars.append(scalars[index])
        index += 1
      }
      return (text, false)
    }
    guard scalar == "{", let text = interval() else { return nil }
    if consume("?") { return (text + "?", false) }
    if consume("+") { return (text, true) }
    return (text, false)
  }

  /// Reads `{n}`, `{n,}`, `{,m}` or `{n,m}`; anything else leaves the brace as a literal.
  private mutating func interval() -> String? {
    var end = index + 1
    func digits() -> String {
      var text = ""
      while end < scalars.count, ("0"..."9").contains(scalars[end]) {
        text.unicodeScalars.append(scalars[end])
        end += 1
      }
      return text
    }
    let lower = digits()
    var upper: String?
    if end < scalars.count, scalars[end] == "," {
      end += 1
      upper = digits()
    }
    guard end < scalars.count, scalars[end] == "}", !lower.isEmpty || upper?.isEmpty == false else {
      return nil
    }
    index = end + 1
    guard let upper else { return "{\(lower)}" }
    return "{\(lower.isEmpty ? "0" : lower),\(upper)}"
  }

  private mutating func atom() throws(TokenizerError) -> String {
    guard let scalar = current else { throw failure("an incomplete pattern") }
    switch scalar {
    case "(": return try group()
    case "[": return try CharacterClassReader.read(&self).pattern
    case "\\":
      index += 1
      return try escape().pattern
    case "^":
      index += 1
      return "(?m:^)"
    case "$":
      index += 1
      return "(?m:$)"
    case ".":
      index += 1
      return "[^\\n]"
    case "*", "+", "?": throw failure("a quantifier without anything to repeat")
    default:
      index += 1
      return Self.quoted(scalar)
    }
  }

  private mutating func group() throws(TokenizerError) -> String {
    let wasCaseless = isCaseless
    defer { isCaseless = wasCaseless }
    for opening in ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"] where consume(opening) {
      return try close(opening)
    }
    if consume("(?i:") {
      isCaseless = true
      return try close("(?i:")
    }
    if hasPrefix("(?") { throw failure("an unknown kind of group") }
    index += 1
    return try close("(?:")
  }

  private mutating func close(_ opening: String) throws(TokenizerError) -> String {
    let body = try nested { translator throws(TokenizerError) in try translator.alternatives() }
    guard consume(")") else { throw failure("an unclosed group") }
    return opening + body + ")"
  }

  /// `scalar` as itself, in and outside classes.
  static func quoted(_ scalar: Unicode.Scalar) -> String {
    if scalar.value < 0x20 || scalar.value == 0x7F || scalar == " " || scalar == "#" {
      return "\\x{\(String(scalar.value, radix: 16))}"
    }
    if scalar.isASCII, !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar),
      scalar != "_"
    {
      return "\\\(scalar)"
    }
    return String(scalar)
  }
}
