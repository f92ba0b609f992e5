/// A JSON value as a tokenizer file holds it: objects keep their order and duplicate keys.
enum TokenizerJSON: Sendable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([TokenizerJSON])
  case object([(key: String, value: TokenizerJSON)])

  /// What the value is, for messages.
  var kind: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .number(let value): "\(value)"
    case .string(let value): "\"\(value.prefix(60))\""
    case .array(let values): "a list of \(values.count)"
    case .object(let members): "an object of \(members.count) keys"
    }
  }

  /// Reads a whole file; an error names the byte where reading stopped.
  static func parse(_ bytes: [UInt8], file: String) throws(TokenizerError) -> TokenizerJSON {
    let invalid = bytes.withUnsafeBufferPointer { UTF8Text.firstInvalid($0) }
    if let invalid {
      throw TokenizerError(
        .malformed, file: file, "byte \(invalid) is not UTF-8; the file is damaged or not JSON")
    }
    let outcome = bytes.withUnsafeBufferPointer { buffer in
      Result { () throws(TokenizerError) -> TokenizerJSON in
        var parser = TokenizerJSONParser(bytes: buffer, file: file)
        return try parser.parseFile()
      }
    }
    return try outcome.get()
  }

  /// `text` as a JSON string literal; only what JSON demands is escaped.
  static func quote(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

/// A recursive-descent JSON reader over validated UTF-8.
struct TokenizerJSONParser {
  private let bytes: UnsafeBufferPointer<UInt8>
  private let file: String
  private var index = 0
  private var depth = 0

  init(bytes: UnsafeBufferPointer<UInt8>, file: String) {
    self.bytes = bytes
    self.file = file
  }

  mutating func parseFile() throws(TokenizerError) -> TokenizerJSON {
    if bytes.count >= 3, bytes[0] == 0xEF, bytes[1] == 0xBB, bytes[2] == 0xBF { index = 3 }
    let value = try parseValue()
    skipSpace()
    guard index == bytes.count else { throw failure("unexpected text after the JSON value") }
    return value
  }

  private func failure(_ message: String) -> TokenizerError {
    if index >= bytes.count {
      return TokenizerError(
        .malformed, file: file,
        "the JSON ends at byte \(bytes.count) before it is complete; the file is truncated")
    }
    return TokenizerError(.malformed, file: file, "not JSON at byte \(index): \(message)")
  }

  private mutating func skipSpace() {
    while index < bytes.count {
      switch bytes[index] {
      case 0x20, 0x0A, 0x0D, 0x09: index += 1
      default: return
      }
    }
  }

  private mutating func parseValue() throws(TokenizerError) -> TokenizerJSON {
    skipSpace()
    guard index < bytes.count else { throw failure("a value is missing") }
    depth += 1
    defer { depth -= 1 }
    guard depth < 200 else { throw failure("nested more than 200 deep") }
    switch bytes[index] {
    case UInt8(ascii: "{"): return try parseObject()
    case UInt8(ascii: "["): return try parseArray()
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
    case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
    case UInt8(ascii: "n"): return try parseWord("null", .null)
    default: return try parseNumber()
    }
  }

  private mutating func parseWord(
    _ word: String, _ value: TokenizerJSON
  ) throws(TokenizerError) -> TokenizerJSON {
    for byte in word.utf8 {
      guard index < bytes.count, bytes[index] == byte else { throw failure("expected \(word)") }
      index += 1
    }
    return value
  }

  private mutating func parseNumber() throws(TokenizerError) -> TokenizerJSON {
    let start = index
    scan: while index < bytes.count {
      switch bytes[index] {
      case 0x30...0x39, 0x2B, 0x2D, 0x2E, 0x45, 0x65: index += 1
      default: break scan
      }
    }
    let digits = UnsafeBufferPointer(rebasing: bytes[start..<index])
    if digits.count <= 9, let value = Self.smallNumber(digits) { return .number(Double(value)) }
    guard let value = Double(String(decoding: digits, as: UTF8.self)) else {
      index = start
      throw failure("a value is expected")
    }
    return .number(value)
  }

  private static func smallNumber(_ digits: UnsafeBufferPointer<UInt8>) -> Int? {
    guard !digits.isEmpty else { return nil }
    var value = 0
    for digit in digits {
      guard (0x30...0x39).contains(digit) else { return nil }
      value = value * 10 + Int(digit - 0x30)
    }
    return value
  }

  private mutating func parseArray() throws(TokenizerError) -> TokenizerJSON {
    index += 1
    var values: [TokenizerJSON] = []
    skipSpace()
    if index < bytes.count, bytes[index] == UInt8(ascii: "]") {
      index += 1
      return .array([])
    }
    while true {
      values.append(try parseValue())
      skipSpace()
      guard index < bytes.count else { throw failure("the list is not closed") }
      let byte = bytes[index]
      if byte == UInt8(ascii: "]") {
        index += 1
        return .array(values)
      }
      guard byte == UInt8(ascii: ",") else { throw failure("expected , or ]") }
      index += 1
    }
  }

  private mutating func parseObject() throws(TokenizerError) -> TokenizerJSON {
    index += 1
    var members: [(key: String, value: TokenizerJSON)] = []
    skipSpace()
    if index < bytes.count, bytes[index] == UInt8(ascii: "}") {
      index += 1
      return .object([])
    }
    while true {
      skipSpace()
      guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else {
        throw failure("expected a key in quotes")
      }
      let key = try parseString()
      skipSpace()
      guard index < bytes.count, bytes[index] == UInt8(ascii: ":") else {
        throw failure("expected : after the key")
      }
      index += 1
      members.append((key, try parseValue()))
      skipSpace()
      guard index < bytes.count else { throw failure("the object is not closed") }
      let byte = bytes[index]
      if byte == UInt8(ascii: "}") {
        index += 1
        return .object(members)
      }
      guard byte == UInt8(ascii: ",") else { throw failure("expected , or }") }
      index += 1
    }
  }

  private mutating func parseString() throws(TokenizerError) -> String {
    index += 1
    let start = index
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "\""):
        let text = String(
          decoding: UnsafeBufferPointer(rebasing: bytes[start..<index]), as: UTF8.self)
        index += 1
        return text
      case UInt8(ascii: "\\"): return try parseEscapedString(from: start)
      case 0..<0x20: throw failure("a control character inside a string must be escaped")
      default: index += 1
      }
    }
    throw failure("the string is not closed")
  }

  private mutating func parseEscapedString(from start: Int) throws(TokenizerError) -> String {
    var text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<index]), as: UTF8.self)
    var plain = index
    func flush(_ text: inout String) {
      text += String(decoding: UnsafeBufferPointer(rebasing: bytes[plain..<index]), as: UTF8.self)
    }
    while index < bytes.count {
      let byte = bytes[index]
      if byte == UInt8(ascii: "\"") {
        flush(&text)
        index += 1
        return text
      }
      guard byte == UInt8(ascii: "\\") else {
        guard byte >= 0x20 else {
          throw failure("a control character inside a string must be escaped")
        }
        index += 1
        continue
      }
      flush(&text)
      text.unicodeScalars.append(try parseEscape())
      plain = index
    }
    throw failure("the string is not closed")
  }

  private mutating func parseEscape() throws(TokenizerError) -> Unicode.Scalar {
    index += 1
    guard index < bytes.count else { throw failure("the escape is not complete") }
    let letter = bytes[index]
    index += 1
    switch letter {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      let unit = try parseHex()
      if let scalar = Unicode.Scalar(unit) { return scalar }
      guard (0xD800...0xDBFF).contains(unit), index + 1 < bytes.count,
        bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u")
      else { throw failure("a lone surrogate in \\u is not a character") }
      index += 2
      let low = try parseHex()
      guard (0xDC00...0xDFFF).contains(low),
        let scalar = Unicode.Scalar(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
      else { throw failure("a lone surrogate in \\u is not a character") }
      return scalar
    default:
      index -= 1
      throw failure("unknown escape")
    }
  }

  private mutating func parseHex() throws(TokenizerError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard index < bytes.count, let digit = Character(Unicode.Scalar(bytes[index])).hexDigitValue
      else { throw failure("four hexadecimal digits are expected after \\u") }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }
}
