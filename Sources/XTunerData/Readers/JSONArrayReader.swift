/// Hands out the elements of one top-level JSON array without holding the whole file.
final class JSONArrayReader {
  private let file: String
  private let source: any ByteSource
  private let buffer: UnsafeMutableRawBufferPointer
  private var position = 0
  private var end = 0
  private var line = 1
  private var isInside = false
  private var isFinished = false
  private var isFirst = true

  init(source: any ByteSource, file: String) {
    self.source = source
    self.file = file
    buffer = .allocate(byteCount: readChunkSize, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// The text of the next element with the line it starts on, nil behind the last one.
  ///
  /// Only brackets and quotes are looked at here; the parser checks the element.
  func next() throws(DataReadError) -> (bytes: [UInt8], line: Int)? {
    if isFinished { return nil }
    if !isInside { try enter() }
    var bytes: [UInt8] = []
    var firstLine = line
    var depth = 0
    var isInString = false
    var isEscaped = false
    while let byte = try nextByte() {
      if isInString {
        bytes.append(byte)
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
        continue
      }
      if depth == 0, byte == UInt8(ascii: ",") {
        isFirst = false
        return (bytes, firstLine)
      }
      if depth == 0, byte == UInt8(ascii: "]") {
        try finish()
        // Nothing between a comma and the end is left for the parser to refuse.
        return bytes.isEmpty && isFirst ? nil : (bytes, firstLine)
      }
      switch byte {
      case UInt8(ascii: "\""): isInString = true
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      case 0x20, 0x09, 0x0A, 0x0D: if bytes.isEmpty { continue }
      default: break
      }
      if bytes.isEmpty { firstLine = line }
      bytes.append(byte)
    }
    throw DataReadError(
      .invalidText, "the file ends inside of its JSON array", file: file, line: line)
  }

  private func enter() throws(DataReadError) {
    isInside = true
    while let byte = try nextByte() {
      if byte == UInt8(ascii: "[") { return }
    }
  }

  private func finish() throws(DataReadError) {
    isFinished = true
    while let byte = try nextByte() {
      let isSpace = byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
      if !isSpace {
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
