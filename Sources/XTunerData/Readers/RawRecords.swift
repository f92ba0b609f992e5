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
    case values(JSONValueReader)
    case text(TextUnit)
  }

  private let file: String
  private let reader: LineReader
  private let layout: Layout
  private let limit: RecordSizeLimit
  /// Whether the file takes less room than its contents, so that its size promises nothing.
  private let isCompressed: Bool

  init(
    file: String, textUnit: TextUnit, limit: RecordSizeLimit = .default
  ) throws(DataReadError) {
    self.file = file
    self.limit = limit
    isCompressed = Compression(path: file) != .none
    reader = LineReader(source: try openBytes(path: file, limit: limit), file: file, limit: limit)
    switch FileKind(path: file) {
    case .plainText: layout = .text(textUnit)
    case .json:
      let source = try openBytes(path: file, limit: limit)
      let values = JSONValueReader(source: source, file: file, limit: limit)
      // A .json file may hold lines, too; they are read as such, since a broken one can be skipped.
      layout = try values.hasOneValueALine() ? .lines : .values(values)
    case .jsonLines, nil: layout = .lines
    }
  }

  /// The next record, nil at the end of the file.
  ///
  /// After an error of code `invalidText` with a line, reading can go on with the record after it.
  func next() throws -> RawRecord? {
    switch layout {
    case .lines: try nextLine()
    case .values(let values): try nextValue(of: values)
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

  private func nextValue(of values: JSONValueReader) throws -> RawRecord? {
    guard let value = try values.next() else { return nil }
    return try value.bytes.withUnsafeBufferPointer { bytes in
      try record(parsing: bytes, line: value.line)
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
    while try reader.next(append) != nil {
      if isCompressed { try limit.check(text.count, file: file, line: 1) }
    }
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
        try limit.check(text.count, file: file, line: firstLine)
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
