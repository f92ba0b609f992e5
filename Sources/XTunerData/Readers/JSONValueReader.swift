/// Hands out the values of a JSON file that is no JSON Lines file, without holding all of it: the
/// elements of one array, or values one after another, each over any number of lines.
final class JSONValueReader {
  private let file: String
  private let source: any ByteSource
  private let limit: RecordSizeLimit
  private let buffer: UnsafeMutableRawBufferPointer
  private var position = 0
  private var end = 0
  private var line = 1
  private var isStarted = false
  private var isArray = false
  private var isFinished = false
  private var isFirst = true

  init(source: any ByteSource, file: String, limit: RecordSizeLimit = .default) {
    self.source = source
    self.file = file
    self.limit = limit
    buffer = .allocate(byteCount: readChunkSize, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// Whether the file's first value that is no array ends on the line that it begins on, as in JSON
  /// Lines; looks at the file's first bytes and takes none.
  ///
  /// A value that goes on past `readChunkSize` bytes without an end of line is taken for a line.
  func hasOneValueALine() throws(DataReadError) -> Bool {
    try start()
    guard !isArray else { return false }
    var scanner = BracketScanner()
    for byte in buffer[position..<end] {
      if byte == 0x0A { break }
      scanner.take(byte)
    }
    return scanner.depth == 0 || scanner.isInString || !buffer[position..<end].contains(0x0A)
  }

  /// The text of the next value with the line it starts on, nil behind the last one.
  ///
  /// Only brackets and quotes are looked at here; the parser checks the value.
  func next() throws(DataReadError) -> (bytes: [UInt8], line: Int)? {
    if isFinished { return nil }
    try start()
    return isArray ? try nextElement() : try nextValue()
  }

  private func nextElement() throws(DataReadError) -> (bytes: [UInt8], line: Int)? {
    var bytes: [UInt8] = []
    var firstLine = line
    var scanner = BracketScanner()
    while let byte = try nextByte() {
      if scanner.depth == 0, !scanner.isInString {
        if byte == UInt8(ascii: ",") {
          isFirst = false
          return (bytes, firstLine)
        }
        if byte == UInt8(ascii: "]") {
          try finish()
          // Nothing between a comma and the end is left for the parser to refuse.
          return bytes.isEmpty && isFirst ? nil : (bytes, firstLine)
        }
        if bytes.isEmpty, isJSONSpace(byte) { continue }
      }
      if bytes.isEmpty { firstLine = line }
      scanner.take(byte)
      try append(byte, to: &bytes, line: firstLine)
    }
    throw DataReadError(
      .invalidText, "the file ends inside of its JSON array", file: file, line: line)
  }

  private func nextValue() throws(DataReadError) -> (bytes: [UInt8], line: Int)? {
    var bytes: [UInt8] = []
    var firstLine = line
    var scanner = BracketScanner()
    while let byte = try nextByte() {
      if bytes.isEmpty {
        if isJSONSpace(byte) { continue }
        firstLine = line
      }
      let wasOpen = scanner.depth > 0
      scanner.take(byte)
      let isClosed = wasOpen && scanner.depth <= 0
      // What is neither object nor array ends at the end of its line.
      let isLine = byte == 0x0A && scanner.depth <= 0
      if !isLine { try append(byte, to: &bytes, line: firstLine) }
      if isClosed || isLine { return (bytes, firstLine) }
    }
    isFinished = true
    guard !bytes.isEmpty else { return nil }
    guard scanner.depth <= 0 else {
      throw DataReadError(
        .invalidText, "the file ends inside of the JSON value that begins here", file: file,
        line: firstLine)
    }
    return (bytes, firstLine)
  }

  private func append(
    _ byte: UInt8, to bytes: inout [UInt8], line: Int
  ) throws(DataReadError) {
    try limit.check(bytes.count, file: file, line: line)
    bytes.append(byte)
  }

  /// Goes to the first byte of the first value, past the bracket of an array around all of them.
  private func start() throws(DataReadError) {
    guard !isStarted else { return }
    isStarted = true
    while let byte = try nextByte() {
      if isJSONSpace(byte) || byteOrderMark.contains(byte) { continue }
      isArray = byte == UInt8(ascii: "[")
      if !isArray { position -= 1 }
      return
    }
  }

  private func finish() throws(DataReadError) {
    isFinished = true
    while let byte = try nextByte() {
      if !isJSONSpace(byte) {
        throw DataReadError(
          .invalidText, "unexpected text after the JSON array", file: file, line: line)
      }
    }
  }

  private func nextByte() throws(DataReadError) -> UInt8? {
    if position == end {
      end = try source.read(into: buffer)
      position = 0
      if end == 0 { return nil }
    }
    let byte = buffer[position]
    position += 1
    if byte == 0x0A { line += 1 }
    return byte
  }
}

/// How deep a place in a JSON text is inside of brackets, byte by byte.
private struct BracketScanner {
  private(set) var depth = 0
  private(set) var isInString = false
  private var isEscaped = false

  mutating func take(_ byte: UInt8) {
    if isInString {
      if isEscaped {
        isEscaped = false
      } else if byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else if byte == UInt8(ascii: "\"") {
        isInString = false
      }
      return
    }
    switch byte {
    case UInt8(ascii: "\""): isInString = true
    case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
    case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
    default: break
    }
  }
}

private let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

private func isJSONSpace(_ byte: UInt8) -> Bool {
  byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
}
