extension JSONParser {
  /// Reads a string from its opening quote to behind its closing quote.
  mutating func parseString() throws(JSONError) -> String {
    let open = position
    position += 1
    let start = position
    skipPlainText()
    if position < bytes.count, bytes[position] == UInt8(ascii: "\"") {
      let text = try validText(start..<position)
      position += 1
      return text
    }
    return try parseEscapedString(open: open)
  }

  /// Reads on behind text without escapes.
  ///
  /// Runs of text and what escapes stand for are put together as bytes, and only the whole is
  /// checked and made a string: texts have an escape every few words.
  private mutating func parseEscapedString(open: Int) throws(JSONError) -> String {
    let start = open + 1
    scratch.removeAll(keepingCapacity: true)
    scratch.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start..<position]))
    while true {
      guard position < bytes.count else {
        try checkText(start..<position)
        throw failure("the string that starts here has no closing quote", at: open)
      }
      switch bytes[position] {
      case UInt8(ascii: "\""):
        guard let text = String(validating: scratch, as: UTF8.self) else {
          try checkText(start..<position)
          throw failure("the string is not valid UTF-8", at: start)
        }
        position += 1
        return text
      case UInt8(ascii: "\\"): try appendEscape()
      case 0..<0x20: throw failure("a control character in a string must be written as an escape")
      default:
        let runStart = position
        skipPlainText()
        scratch.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[runStart..<position]))
      }
    }
  }

  private mutating func appendEscape() throws(JSONError) {
    if position + 1 < bytes.count, let byte = Self.simpleEscape(bytes[position + 1]) {
      scratch.append(byte)
      position += 2
    } else {
      scratch.append(contentsOf: UTF8.encode(try parseUnicodeEscape()) ?? .init())
    }
  }

  /// What a backslash and `byte` stand for, nil for all others than escapes of two bytes.
  private static func simpleEscape(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): byte
    case UInt8(ascii: "b"): 0x08
    case UInt8(ascii: "f"): 0x0C
    case UInt8(ascii: "n"): 0x0A
    case UInt8(ascii: "r"): 0x0D
    case UInt8(ascii: "t"): 0x09
    default: nil
    }
  }

  /// Throws at the first run of text between escapes that is not valid UTF-8.
  private func checkText(_ range: Range<Int>) throws(JSONError) {
    for run in bytes[range].split(separator: UInt8(ascii: "\\")) {
      _ = try validText(run.startIndex..<run.endIndex)
    }
  }

  /// Moves to the next quote, backslash or control character, eight bytes at a time.
  private mutating func skipPlainText() {
    guard let base = UnsafeRawPointer(bytes.baseAddress) else { return }
    let (ones, highBits): (UInt64, UInt64) = (0x0101_0101_0101_0101, 0x8080_8080_8080_8080)
    while position + 8 <= bytes.count {
      let word = UInt64(
        littleEndian: (base + position).loadUnaligned(as: UInt64.self))
      // The high bit of each byte that is 0 or, by a borrow, of some above such a byte.
      func zeroBytes(_ value: UInt64) -> UInt64 { (value &- ones) & ~value & highBits }
      let stops =
        zeroBytes(word ^ (ones * 0x22)) | zeroBytes(word ^ (ones * 0x5C))
        | (word &- ones * 0x20) & ~word & highBits
      if stops != 0 {
        position += stops.trailingZeroBitCount / 8
        return
      }
      position += 8
    }
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 { return }
      position += 1
    }
  }

  private func validText(_ range: Range<Int>) throws(JSONError) -> String {
    guard let text = String(validating: bytes[range], as: UTF8.self) else {
      throw failure("the string is not valid UTF-8", at: range.lowerBound)
    }
    return text
  }

  private mutating func parseUnicodeEscape() throws(JSONError) -> Unicode.Scalar {
    let start = position
    position += 1
    guard position < bytes.count else { throw failure("the text ends inside an escape") }
    guard take(UInt8(ascii: "u")) else { throw failure("unknown escape", at: start) }
    let first = try parseFourHexDigits()
    if let scalar = Unicode.Scalar(first) { return scalar }
    let isHighSurrogate = (0xD800..<0xDC00).contains(first)
    guard isHighSurrogate, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
      throw failure("half of a surrogate pair stands alone", at: start)
    }
    let second = try parseFourHexDigits()
    guard (0xDC00..<0xE000).contains(second),
      let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
    else { throw failure("half of a surrogate pair stands alone", at: start) }
    return scalar
  }

  private mutating func parseFourHexDigits() throws(JSONError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard position < bytes.count,
        let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue
      else { throw failure("expected four hexadecimal digits after \\u") }
      value = value << 4 + UInt32(digit)
      position += 1
    }
    return value
  }
}
