/// Escapes: what follows a backslash, in and outside classes.
extension PatternTranslator {
  /// Unicode White_Space as class content.
  private static let space =
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"
    + "\\x{205F}\\x{3000}"
  private static let digit = "\\p{Nd}" + RecentCharacters.content(category: "Nd")
  private static let word =
    // Oniguruma counts superscript 1 to 3 and the three fractions of Latin-1 among word characters.
    "\\p{Alphabetic}\\p{M}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" + digit
    + RecentCharacters.content(category: "L")
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
      try expand(content)
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
      for _ in 0..<4 { try expand(word) }
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
    guard text.utf8.count <= 8, let value = UInt32(text, radix: 16),
      let scalar = Unicode.Scalar(value)
    else {
      throw failure("an escape that is not a character")
    }
    return scalar
  }

  private static let categories: [String: String] = {  // own names
    var names: [String: String] = [  // own names
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

  private static let scripts: Set<String> = [  // own names
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
}
