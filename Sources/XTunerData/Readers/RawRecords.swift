import XTunerTokenizers

/// A record before its format is known.
struct RawRecord: Sendable {
  enum Content: Sendable {
    case json(JSONValue)
    case plainText(String)
  }

  let content: Content
  let file: String
  let line: Int
}

/// Reads the raw records of one file.
final class RawRecords {
  private enum Layout {
    case lines
    case array(JSONArrayReader)
    case text(TextUnit)
  }

  private let file: String
  private let reader: LineReader
  private let layout: Layout

  init(file: String, textUnit: TextUnit) throws(DataReadError) {
    self.file = file
    reader = LineReader(source: try openBytes(path: file), file: file)
    switch FileKind(path: file) {
    case .plainText: layout = .text(textUnit)
    case .json where try Self.holdsArray(file):
      layout = .array(JSONArrayReader(source: try openBytes(path: file), file: file))
    case .json, .jsonLines, nil: layout = .lines
    }
  }

  /// Whether the first character that is not white space opens an array.
  private static func holdsArray(_ file: String) throws(DataReadError) -> Bool {
    let source = try openBytes(path: file)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { buffer.deallocate() }
    while true {
      let count = try source.read(into: buffer)
      if count == 0 { return false }
      let ignored: [UInt8] = [0x20, 0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF]
      if let first = buffer[..<count].first(where: { !ignored.contains($0) }) {
        return first == UInt8(ascii: "[")
      }
    }
  }

  /// The next record, nil at the end of the file.
  ///
  /// After an error of code `invalidText` with a line, reading can go on with the record after it.
  func next() throws -> RawRecord? {
    switch layout {
    case .lines: try nextLine()
    case .array(let elements): try nextElement(of: elements)
    case .text(.file): try wholeText()
    case .text(.paragraph): try nextParagraph()
    }
  }

  private func nextLine() throws -> RawRecord? {
    while true {
      let found = try reader.next { line -> RawRecord? in
        if isBlank(line) { return nil }
        return try record(parsing: line, line: reader.lineNumber)
      }
      guard let record = found else { return nil }
      if let record { return record }
    }
  }

  private func nextElement(of elements: JSONArrayReader) throws -> RawRecord? {
    guard let element = try elements.next() else { return nil }
    return try element.bytes.withUnsafeBufferPointer { bytes in
      try record(parsing: bytes, line: element.line)
    }
  }

  private func record(
    parsing bytes: UnsafeBufferPointer<UInt8>, line: Int
  ) throws(DataReadError) -> RawRecord {
    do throws(JSONError) {
      let value = try JSONValue(parsing: bytes)
      return RawRecord(content: .json(value), file: file, line: line)
    } catch {
      throw DataReadError(
        .invalidText, "column \(error.column): \(error.message)", file: file,
        line: line + error.line - 1,
        excerpt: DataReadError.excerpt(of: bytes, around: error.offset))
    }
  }

  private func wholeText() throws -> RawRecord? {
    var text: [UInt8] = []
    let append = { (line: UnsafeBufferPointer<UInt8>) in
      text += line
      text.append(0x0A)
    }
    while try reader.next(append) != nil {}
    guard text.contains(where: { !Self.spaces.contains($0) }) else { return nil }
    return try record(text: text, line: 1)
  }

  private func nextParagraph() throws -> RawRecord? {
    var text: [UInt8] = []
    var firstLine = 0
    while true {
      let isEnd = try reader.next { line in
        if isBlank(line) { return !text.isEmpty }
        if text.isEmpty { firstLine = reader.lineNumber }
        text += line
        text.append(0x0A)
        return false
      }
      if isEnd ?? true { break }
    }
    return text.isEmpty ? nil : try record(text: text, line: firstLine)
  }

  private static let spaces: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]

  private func record(text: [UInt8], line: Int) throws(DataReadError) -> RawRecord {
    guard let text = String(validating: text.dropLast(), as: UTF8.self) else {
      throw DataReadError(.invalidText, "the text is not valid UTF-8", file: file, line: line)
    }
    return RawRecord(content: .plainText(text), file: file, line: line)
  }
}
