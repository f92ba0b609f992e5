internal import XTunerText

/// Why a text is not the JSON that was asked for.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong, without the place.
  public let message: String
  /// Line of the fault, counted from 1.
  public let line: Int
  /// Column of the fault in bytes, counted from 1.
  public let column: Int
  /// Offset of the fault in bytes, counted from 0.
  public let offset: Int

  /// The message with its place: `line 1, column 8: expected a comma or "}"`.
  public var description: String { "line \(line), column \(column): \(message)" }
}

extension JSONValue {
  /// Parses one JSON text strictly: UTF-8, no comments, no trailing commas, no duplicate keys.
  ///
  /// - Parameters:
  ///   - text: The whole document; white space around the value is allowed.
  ///   - maximumDepth: How many arrays and objects may be nested in each other.
  /// - Throws: `JSONError` with line and column.
  public init(parsing text: String, maximumDepth: Int = 256) throws(JSONError) {
    var text = text
    let result = text.withUTF8 { bytes in
      JSONValue.result(parsing: bytes, maximumDepth: maximumDepth)
    }
    self = try result.get()
  }

  /// Parses one JSON text from bytes, which must be UTF-8; the bytes are not kept.
  ///
  /// - Throws: `JSONError` with line and column.
  public init(
    parsing bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int = 256
  ) throws(JSONError) {
    var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth)
    self = try parser.parseDocument()
  }

  private static func result(
    parsing bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int
  ) -> Result<JSONValue, JSONError> {
    do throws(JSONError) {
      return .success(try JSONValue(parsing: bytes, maximumDepth: maximumDepth))
    } catch {
      return .failure(error)
    }
  }
}

/// A recursive-descent parser over bytes that the caller keeps alive.
struct JSONParser {
  let bytes: UnsafeBufferPointer<UInt8>
  let maximumDepth: Int
  var position = 0
  /// The string that is being read, where it has escapes.
  var scratch: [UInt8] = []

  init(bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
  }

  mutating func parseDocument() throws(JSONError) -> JSONValue {
    skipSpace()
    let value = try parseValue(depth: 0)
    skipSpace()
    if position < bytes.count { throw failure("unexpected text after the end of the value") }
    return value
  }

  private mutating func parseValue(depth: Int) throws(JSONError) -> JSONValue {
    guard position < bytes.count else { throw failure("the text ends where a value should be") }
    switch bytes[position] {
    case UInt8(ascii: "{"): return try parseObject(depth: depth)
    case UInt8(ascii: "["): return try parseArray(depth: depth)
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "t"): return try parseWord("true", as: .bool(true))
    case UInt8(ascii: "f"): return try parseWord("false", as: .bool(false))
    case UInt8(ascii: "n"): return try parseWord("null", as: .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
    default: throw failure("expected a value")
    }
  }

  private mutating func parseObject(depth: Int) throws(JSONError) -> JSONValue {
    try checkDepth(depth)
    position += 1
    var entries: [JSONObject.Entry] = []
    var seenKeys: Set<ExactText> = []
    skipSpace()
    if take(UInt8(ascii: "}")) { return .object(JSONObject()) }
    while true {
      skipSpace()
      let keyPosition = position
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
        throw failure("expected a key in double quotes")
      }
      let key = try parseString()
      guard isNew(key, in: entries, seenKeys: &seenKeys) else {
        throw failure("duplicate key \(quoted(key))", at: keyPosition)
      }
      skipSpace()
      guard take(UInt8(ascii: ":")) else { throw failure("expected \":\" after a key") }
      skipSpace()
      entries.append(.init(key: key, value: try parseValue(depth: depth + 1)))
      skipSpace()
      if take(UInt8(ascii: ",")) { continue }
      if take(UInt8(ascii: "}")) { return .object(JSONObject(uniqueEntries: entries)) }
      throw failure("expected a comma or \"}\"")
    }
  }

  /// Compares with few keys one by one, and with many through a set.
  private func isNew(
    _ key: String, in entries: [JSONObject.Entry], seenKeys: inout Set<ExactText>
  ) -> Bool {
    let linearLimit = 8
    if entries.count < linearLimit { return !entries.contains { $0.key.isExactly(key) } }
    if seenKeys.isEmpty { seenKeys = Set(entries.lazy.map { ExactText($0.key) }) }
    return seenKeys.insert(key).inserted
  }

  private mutating func parseArray(depth: Int) throws(JSONError) -> JSONValue {
    try checkDepth(depth)
    position += 1
    var elements: [JSONValue] = []
    skipSpace()
    if take(UInt8(ascii: "]")) { return .array([]) }
    while true {
      skipSpace()
      elements.append(try parseValue(depth: depth + 1))
      skipSpace()
      if take(UInt8(ascii: ",")) { continue }
      if take(UInt8(ascii: "]")) { return .array(elements) }
      throw failure("expected a comma or \"]\"")
    }
  }

  private mutating func parseNumber() throws(JSONError) -> JSONValue {
    let start = position
    var isInteger = true
    _ = take(UInt8(ascii: "-"))
    if take(UInt8(ascii: "0")) {
      if position < bytes.count, isDigit(bytes[position]) {
        throw failure("a number must not start with 0", at: start)
      }
    } else {
      try skipDigits()
    }
    if take(UInt8(ascii: ".")) {
      isInteger = false
      try skipDigits()
    }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      isInteger = false
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      try skipDigits()
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger { return Int(text).map(JSONValue.integer) ?? .bigInteger(text) }
    guard let value = Double(text), value.isFinite else {
      throw failure("the number \(text) is outside the range of a double", at: start)
    }
    return .double(value)
  }

  private mutating func skipDigits() throws(JSONError) {
    let start = position
    while position < bytes.count, isDigit(bytes[position]) { position += 1 }
    if position == start { throw failure("expected a digit") }
  }

  private mutating func parseWord(_ word: StaticString, as value: JSONValue) throws(JSONError)
    -> JSONValue
  {
    let start = position
    for index in 0..<word.utf8CodeUnitCount {
      guard take(word.utf8Start[index]) else { throw failure("expected a value", at: start) }
    }
    return value
  }
}

// MARK: - Helpers

extension JSONParser {
  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x0A, 0x0D, 0x09: position += 1
      default: return
      }
    }
  }

  mutating func take(_ byte: UInt8) -> Bool {
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  private func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  private func checkDepth(_ depth: Int) throws(JSONError) {
    if depth >= maximumDepth {
      throw failure("more than \(maximumDepth) arrays and objects nested in each other")
    }
  }

  private func quoted(_ text: String) -> String {
    let limit = 60
    return text.count > limit ? "\"\(text.prefix(limit))...\"" : "\"\(text)\""
  }

  func failure(_ message: String, at offset: Int? = nil) -> JSONError {
    let offset = offset ?? position
    let before = bytes[..<offset]
    let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
    let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
    return JSONError(
      message: message, line: line, column: offset - lineStart + 1, offset: offset)
  }
}
