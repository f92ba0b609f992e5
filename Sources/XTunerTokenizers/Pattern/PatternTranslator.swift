/// Rewrites a pattern in Oniguruma's Ruby syntax, which `tokenizer.json` files use, or in the
/// `regex` syntax of tiktoken patterns, into a PCRE2 pattern that matches the same text.
///
/// The differences that matter: `\s` is Unicode White_Space (PCRE2 adds U+180E), scripts mean the
/// Script property (PCRE2 means Script_Extensions), classes nest and intersect (`&&`), `{,n}` is a
/// quantifier, `{n,m}+` is not possessive, `^` and `$` are about lines. What is not known is refused.
struct PatternTranslator {
  private let scalars: [Unicode.Scalar]
  private let file: String
  private let key: String
  private var index = 0
  private var isCaseless = false

  /// The PCRE2 form of `pattern`; `file` and `key` say where it came from, for errors.
  static func translate(
    _ pattern: String, file: String, key: String
  ) throws(TokenizerError) -> String {
    var translator = PatternTranslator(
      scalars: Array(pattern.unicodeScalars), file: file, key: key)
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

  private func failure(_ message: String) -> TokenizerError {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return TokenizerError(
      .unsupported, file: file, key: key,
      "\(message) at character \(index) of the pattern \(String(text))")
  }

  private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

  private func hasPrefix(_ text: String) -> Bool {
    let wanted = Array(text.unicodeScalars)
    return index + wanted.count <= scalars.count
      && Array(scalars[index..<index + wanted.count]) == wanted
  }

  private mutating func consume(_ text: String) -> Bool {
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
    guard let close = scalars[index...].firstIndex(of: "}") else { return nil }
    var body = String.UnicodeScalarView()
    body.append(contentsOf: scalars[(index + 1)..<close])
    let parts = String(body).split(separator: ",", omittingEmptySubsequences: false)
    guard parts.count <= 2, String(body) != ",", !body.isEmpty,
      parts.allSatisfy({ $0.isEmpty || ($0.utf8.allSatisfy { (0x30...0x39).contains($0) }) })
    else { return nil }
    index = close + 1
    if parts[0].isEmpty { return "{0,\(parts[1])}" }
    return "{\(String(body))}"
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
    let body = try alternatives()
    guard consume(")") else { throw failure("an unclosed group") }
    return opening + body + ")"
  }

  // MARK: - Escapes

  /// Unicode White_Space as class content.
  private static let space =
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"
    + "\\x{205F}\\x{3000}"
  private static let digit = "\\p{Nd}" + RecentCharacters.content(category: "Nd")
  private static let word =
    "\\p{Alphabetic}\\p{M}\\p{Pc}" + digit + RecentCharacters.content(category: "L")
    + RecentCharacters.content(category: "M")

  /// An escape as class content, and whether that content has to be negated.
  struct Escape {
    let content: String
    let isNegated: Bool
    var isSet = false
    var scalar: Unicode.Scalar?

    var pattern: String {
      if let scalar { return PatternTranslator.quoted(scalar) }
      return isSet ? "[\(isNegated ? "^" : "")\(content)]" : content
    }
  }

  /// Reads what follows a backslash.
  mutating func escape() throws(TokenizerError) -> Escape {
    guard let scalar = current else { throw failure("a backslash at the end") }
    index += 1
    func literal(_ scalar: Unicode.Scalar) -> Escape {
      Escape(content: Self.quoted(scalar), isNegated: false, scalar: scalar)
    }
    func set(_ content: String, _ isNegated: Bool) throws(TokenizerError) -> Escape {
      guard !isCaseless else { throw failure("a character set inside (?i:") }
      return Escape(content: content, isNegated: isNegated, isSet: true)
    }
    switch scalar {
    case "s": return try set(Self.space, false)
    case "S": return try set(Self.space, true)
    case "d": return try set(Self.digit, false)
    case "D": return try set(Self.digit, true)
    case "w": return try set(Self.word, false)
    case "W": return try set(Self.word, true)
    case "p", "P":
      let property = try property(isUpper: scalar == "P")
      return try set(property.content, property.isNegated)
    case "r": return literal("\r")
    case "n": return literal("\n")
    case "t": return literal("\t")
    case "f": return literal("\u{C}")
    case "v": return literal("\u{B}")
    case "a": return literal("\u{7}")
    case "e": return literal("\u{1B}")
    case "x": return literal(try hexadecimal(digits: 2))
    case "u": return literal(try hexadecimal(digits: 4))
    case "A": return Escape(content: "\\A", isNegated: false)
    case "z": return Escape(content: "\\z", isNegated: false)
    case "Z": return Escape(content: "\\Z", isNegated: false)
    case "b":
      let word = "[\(Self.word)]"
      return Escape(
        content: "(?:(?<=\(word))(?!\(word))|(?<!\(word))(?=\(word)))", isNegated: false)
    default:
      guard scalar.isASCII, !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else {
        throw failure("the escape \\\(scalar)")
      }
      return literal(scalar)
    }
  }

  private mutating func hexadecimal(digits: Int) throws(TokenizerError) -> Unicode.Scalar {
    var text = ""
    if digits == 2, consume("{") {
      while let scalar = current, scalar != "}" {
        text.unicodeScalars.append(scalar)
        index += 1
      }
      index += 1
    } else {
      while text.count < digits, let scalar = current, Character(scalar).isHexDigit {
        text.unicodeScalars.append(scalar)
        index += 1
      }
      guard text.count == digits else { throw failure("an incomplete hexadecimal escape") }
    }
    guard let value = UInt32(text, radix: 16), let scalar = Unicode.Scalar(value) else {
      throw failure("an escape that is not a character")
    }
    return scalar
  }

  private static let categories: [String: String] = {
    var names: [String: String] = [
      "Letter": "L", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Mark": "M",
      "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Other": "C",
    ]
    for name in [
      "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
      "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C",
      "Cc", "Cf", "Co",
    ] {
      names[name] = name
    }
    return names
  }()

  private static let scripts: Set<String> = [
    "Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew",
    "Thai", "Devanagari", "Bengali", "Tamil", "Telugu", "Armenian", "Georgian", "Khmer", "Lao",
    "Myanmar", "Tibetan", "Bopomofo", "Ethiopic", "Mongolian", "Common", "Inherited",
  ]

  private mutating func property(
    isUpper: Bool
  ) throws(TokenizerError) -> (content: String, isNegated: Bool) {
    guard consume("{") else { throw failure("a property without braces") }
    var isNegated = isUpper
    if consume("^") { isNegated.toggle() }
    var name = ""
    while let scalar = current, scalar != "}" {
      name.unicodeScalars.append(scalar)
      index += 1
    }
    guard consume("}") else { throw failure("an unclosed property") }
    if let category = Self.categories[name] {
      return ("\\p{\(category)}" + RecentCharacters.content(category: category), isNegated)
    }
    if Self.scripts.contains(name) {
      return ("\\p{sc:\(name)}" + RecentCharacters.content(script: name), isNegated)
    }
    throw failure("the property \\p{\(name)}")
  }

  // MARK: - For classes

  var isInCaselessGroup: Bool { isCaseless }
  var next: Unicode.Scalar? { current }
  mutating func skip(_ text: String) -> Bool { consume(text) }
  mutating func advance() { index += 1 }
  func looksAt(_ text: String) -> Bool { hasPrefix(text) }
  func error(_ message: String) -> TokenizerError { failure(message) }

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
