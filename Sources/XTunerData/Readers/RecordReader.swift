import XTunerTokenizers

/// One training record with the place it was read from.
public struct Record: Sendable, Hashable {
  /// The conversation or text.
  public var content: RecordContent
  /// Path of the file.
  public var file: String
  /// Line on which the record starts, counted from 1.
  public var line: Int

  /// Describes a record.
  public init(content: RecordContent, file: String, line: Int) {
    self.content = content
    self.file = file
    self.line = line
  }
}

/// What to do with a record that cannot be read.
public enum ErrorPolicy: String, Sendable, Hashable, CaseIterable, Codable {
  /// Throw the error.
  case stop
  /// Count the record, remember the first few, and go on. Damaged files still throw.
  case skip
}

/// A record that was left out.
public struct SkippedRecord: Sendable, Hashable {
  /// Path of the file.
  public let file: String
  /// Line of the fault, counted from 1.
  public let line: Int
  /// What is wrong with the record.
  public let reason: String
  /// The beginning of its text.
  public let excerpt: String
}

/// Reads the records of a data source one after the other, with memory for one record.
///
/// The first records are read when the reader is made, to tell their format.
public final class RecordReader {
  /// How many records the format is told from, not counting those that have none.
  public static let sampledRecordCount = 16
  /// How many left-out records are remembered in `skipped`.
  public static let rememberedSkipCount = 10

  /// The files of the source, in reading order.
  public let files: [String]
  /// The format that is read; never `auto`.
  public private(set) var format: DataFormat
  /// Why this format is read, as a sentence for people.
  public private(set) var explanation: String
  /// The first few records that were left out.
  public private(set) var skipped: [SkippedRecord] = []
  /// Keys of the records read so far that hold something nothing reads, such as `messages[].train`.
  public var unusedKeys: [String] { unused.names }
  /// How many records were left out so far.
  public private(set) var skippedCount = 0

  private let source: RecordSource
  private let policy: ErrorPolicy
  private var fileIndex = 0
  private var current: RawRecords?
  private var unused = UnusedKeys()
  /// Records that were read to tell the format, to be handed out first.
  private var sampled: ArraySlice<RawRecord> = []

  /// Finds the files, reads the first records and tells their format.
  ///
  /// - Throws: `DataReadError` when there are no files or records, or when the format is unclear.
  public init(source: RecordSource, onError policy: ErrorPolicy = .stop) throws {
    self.source = source
    self.policy = policy
    files = try source.files()
    format = source.format
    explanation = "\(source.format.rawValue): set in the configuration of the source"
    var sample: [RawRecord] = []
    if source.format == .auto {
      let detection = try FormatDetection(sourceName: source.name) {
        guard let record = try nextRaw() else { return nil }
        sample.append(record)
        return record
      }
      if let detection {
        format = detection.format
        explanation = detection.explanation
      }
    } else if let record = try nextRaw() {
      sample.append(record)
    }
    guard !sample.isEmpty else { throw noRecordsError }
    sampled = sample[...]
  }

  /// The next record, nil behind the last one.
  ///
  /// - Throws: `DataReadError` with file, line and excerpt for a record that cannot be read, unless
  ///   such records are skipped.
  public func next() throws -> Record? {
    while let raw = try sampled.popFirst() ?? nextRaw() {
      do throws(FormatError) {
        let content = try RecordConverter.content(of: raw, format: format)
        unused.note(raw, format: format)
        return Record(content: content, file: raw.file, line: raw.line)
      } catch {
        try handle(
          DataReadError(
            .invalidRecord, "not a record of format \(format.rawValue): \(error.message)",
            file: raw.file,
            line: raw.line, excerpt: raw.excerpt))
      }
    }
    return nil
  }

  private var noRecordsError: DataReadError {
    let place = files.count == 1 ? "the file is" : "all \(files.count) files are"
    let reason =
      skippedCount == 0
      ? "\(place) empty"
      : "all \(skippedCount) records are broken, the first one: \(skipped[0].reason)"
    return DataReadError(
      .noRecords, "data source \"\(source.name)\" has no records: \(reason)", file: files.first)
  }

  private func nextRaw() throws -> RawRecord? {
    while true {
      if current == nil {
        guard fileIndex < files.count else { return nil }
        current = try RawRecords(
          file: files[fileIndex], textUnit: source.textUnit,
          limit: RecordSizeLimit(byteCount: source.maximumRecordSize))
        fileIndex += 1
      }
      do {
        if let record = try current?.next() { return record }
        current = nil
      } catch let error as DataReadError where error.excerpt != nil {
        try handle(error)
      }
    }
  }

  private func handle(_ error: DataReadError) throws {
    guard policy == .skip else { throw error }
    skippedCount += 1
    guard skipped.count < Self.rememberedSkipCount else { return }
    skipped.append(
      SkippedRecord(
        file: error.file ?? "", line: error.line ?? 0, reason: error.message,
        excerpt: error.excerpt ?? ""))
  }
}

extension RawRecord {
  /// The beginning of the record's text.
  var excerpt: String {
    var text =
      switch content {
      case .json(let value): value.text()
      case .plainText(let text): text
      }
    return text.withUTF8 { DataReadError.excerpt(of: $0) }
  }
}
