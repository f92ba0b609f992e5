/// A text that is not JSON, and where it stops being so.
public struct JSONParsingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What is wrong, with what was expected.
  public var reason: String
  /// Distance from the start of the text, in bytes.
  public var byteOffset: Int
  /// Line of the problem, from 1.
  public var line: Int
  /// Column of the problem in bytes, from 1.
  public var column: Int

  /// `line 3, column 7: …`.
  public var description: String { "line \(line), column \(column): \(reason)" }
}

extension JSONDocument {
  /// Reads a JSON text by the strict grammar of RFC 8259.
  ///
  /// Not accepted: text after the value, comments, a repeated key, `NaN`, `Infinity`, invalid UTF-8,
  /// more than 128 levels of nesting. White space around the value is accepted.
  public init(parsing text: some Collection<UInt8>) throws(JSONParsingError) {
    var parser = JSONParser(bytes: Array(text))
    self = try parser.parseDocument()
  }
}

private struct JSONParser {
  let bytes: [UInt8]
  var position = 0

  /// Deep enough for every real file, shallow enough for a thread's stack.
  static let maximumDepth = 128

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func parseDocument() throws(JSONParsingError) -> JSONDocument {
    skipWhiteSpace()
    let value = try parseValue(depth: 0)
    skipWhiteSpace()
    guard position == bytes.count else { throw error("text after the end of the value") }
    return value
  }

  func error(_ reason: String, at offset: Int? = nil) -> JSONParsingError {
    let offset = min(offset ?? position, bytes.count)
    let before = bytes[..<offset]
    let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
    let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
    return JSONParsingError(
      reason: reason, byteOffset: offset, line: line, column: offset - lineStart + 1)
  }

  mutating func skipWhiteSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x0A, 0x0D, 0x09: position += 1
      default: return
      }
    }
  }

  mutating func parseValue(depth: Int) throws(JSONParsingError) -> JSONDocument {
    guard depth < Self.maximumDepth else {
      throw error("nested deeper than \(Self.maximumDepth) levels")
    }
    guard position < bytes.count else { throw error("the text ends where a value is expected") }
    switch bytes[position] {
    case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
    case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "t"): return try parseWord("true", .boolean(true))
    case UInt8(ascii: "f"): return try parseWord("false", .boolean(false))
    case UInt8(ascii: "n"): return try parseWord("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
    case let byte: throw error("\(Self.spelling(byte)) where a value is expected")
    }
  }

  mutating func parseWord(
    _ word: String, _ value: JSONDocument
  ) throws(JSONParsingError) -> JSONDocument {
    guard bytes[position...].starts(with: word.utf8) else {
      throw error("a value that is not a JSON word; did you mean \(word)?")
    }
    position += word.utf8.count
    return value
  }

  mutating func parseObject(depth: Int) throws(JSONParsingError) -> JSONObject {
    var object = JSONObject()
    position += 1
    skipWhiteSpace()
    if take(UInt8(ascii: "}")) { return object }
    while true {
      skipWhiteSpace()
      let keyOffset = position
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
        throw error("a key in double quotes is expected")
      }
      let key = try parseString()
      guard object[key] == nil else { throw error("the key \"\(key)\" is repeated", at: keyOffset) }
      skipWhiteSpace()
      guard take(UInt8(ascii: ":")) else { throw error("':' is expected after \"\(key)\"") }
      skipWhiteSpace()
      object[key] = try parseValue(depth: depth + 1)
      skipWhiteSpace()
      if take(UInt8(ascii: "}")) { return object }
      guard take(UInt8(ascii: ",")) else { throw error("',' or '}' is expected") }
    }
  }

  mutating func parseArray(depth: Int) throws(JSONParsingError) -> [JSONDocument] {
    var elements: [JSONDocument] = []
    position += 1
    skipWhiteSpace()
    if take(UInt8(ascii: "]")) { return elements }
    while true {
      skipWhiteSpace()
      elements.append(try parseValue(depth: depth + 1))
      skipWhiteSpace()
      if take(UInt8(ascii: "]")) { return elements }
      guard take(UInt8(ascii: ",")) else { throw error("',' or ']' is expected") }
    }
  }

  mutating func take(_ byte: UInt8) -> Bool {
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  mutating func parseNumber() throws(JSONParsingError) -> JSONDocument {
    let start = position
    _ = take(UInt8(ascii: "-"))
    if !take(UInt8(ascii: "0")) { try parseDigits("a digit is expected") }
    if take(UInt8(ascii: ".")) { try parseDigits("a digit is expected after the point") }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      try parseDigits("a digit is expected in the exponent")
    }
    if position < bytes.count, Self.isDigit(bytes[position]) {
      throw error("a number must not start with 0")
    }
    return .number(String(decoding: bytes[start..<position], as: UTF8.self))
  }

  mutating func parseDigits(_ reason: String) throws(JSONParsingError) {
    let start = position
    while position < bytes.count, Self.isDigit(bytes[position]) { position += 1 }
    guard position > start else { throw error(reason) }
  }

  static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= byte }

  static func spelling(_ byte: UInt8) -> String {
    (0x21...0x7E) ~= byte
      ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x\(String(byte, radix: 16))"
  }

  mutating func parseString() throws(JSONParsingError) -> String {
    let start = position
    position += 1
    var content: [UInt8] = []
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: content, as: UTF8.self) else {
          throw error("the string is not valid UTF-8", at: start)
        }
        return text
      case UInt8(ascii: "\\"): content.append(contentsOf: try parseEscape().utf8)
      case 0..<0x20: throw error("a control character must be escaped", at: position - 1)
      default: content.append(byte)
      }
    }
    throw error("the string is not closed", at: start)
  }

  mutating func parseEscape() throws(JSONParsingError) -> String {
    guard position < bytes.count else { throw error("the text ends inside an escape") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{08}"
    case UInt8(ascii: "f"): return "\u{0C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return String(Character(try parseUnicodeEscape()))
    default: throw error("\\\(Self.spelling(byte)) is not an escape", at: position - 2)
    }
  }

  mutating func parseUnicodeEscape() throws(JSONParsingError) -> Unicode.Scalar {
    let start = position - 2
    let high = try parseHexQuad()
    if let scalar = Unicode.Scalar(high) { return scalar }
    guard high < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
      throw error("half of a surrogate pair", at: start)
    }
    let low = try parseHexQuad()
    guard (0xDC00...0xDFFF).contains(low),
      let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
    else { throw error("half of a surrogate pair", at: start) }
    return scalar
  }

  mutating func parseHexQuad() throws(JSONParsingError) -> UInt32 {
    guard position + 4 <= bytes.count else { throw error("the text ends inside an escape") }
    var value: UInt32 = 0
    for byte in bytes[position..<position + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw error("four hexadecimal digits are expected after \\u")
      }
      value = value << 4 | UInt32(digit)
    }
    position += 4
    return value
  }
}
