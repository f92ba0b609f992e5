import XTunerTokenizers

/// The format of a source, told from its first records.
///
/// Records without a known format are passed over here. They are refused, or skipped and counted,
/// when they are read as records of the format that the others have.
struct FormatDetection {
  /// Records without a known format that are looked at before the source is given up.
  static let largestUnknownCount = 1024

  let format: DataFormat
  let explanation: String

  /// Takes records from `next` until the format is clear; nil where there are none.
  init?(sourceName: String, next: () throws -> RawRecord?) throws {
    var counts: [(format: DataFormat, count: Int, first: RawRecord, evidence: String)] = []
    var sampleCount = 0
    var unknown: RawRecord?
    var unknownCount = 0
    while sampleCount < RecordReader.sampledRecordCount, unknownCount < Self.largestUnknownCount,
      let record = try next()
    {
      let candidates = Self.candidates(for: record)
      guard let candidate = candidates.first else {
        unknown = unknown ?? record
        unknownCount += 1
        continue
      }
      sampleCount += 1
      guard candidates.count == 1 else {
        let names = candidates.map { "\($0.format.rawValue) (\($0.evidence))" }
        throw DataReadError(
          .unclearFormat,
          "the record fits several formats: \(names.joined(separator: " and ")); set `format:` of "
            + "the data source to one of them", file: record.file, line: record.line,
          excerpt: record.excerpt)
      }
      if let index = counts.firstIndex(where: { $0.format == candidate.format }) {
        counts[index].count += 1
      } else {
        counts.append((candidate.format, 1, record, candidate.evidence))
      }
    }
    guard let first = counts.first else {
      guard let unknown else { return nil }
      throw Self.unknown(unknown)
    }
    guard counts.count == 1 else {
      let seen = counts.map {
        "\($0.count) \($0.format.rawValue) (first at \($0.first.file):\($0.first.line))"
      }
      throw DataReadError(
        .unclearFormat,
        "data source \"\(sourceName)\" mixes formats in its first \(sampleCount) records: "
          + "\(seen.joined(separator: ", ")); split it into one source per format, or set "
          + "`format:` to the one that all records have")
    }
    format = first.format
    let records = sampleCount == 1 ? "the first record" : "the first \(sampleCount) records"
    explanation =
      "\(first.format.rawValue): found \(first.evidence) in \(records) of \(first.first.file)"
  }

  private static func candidates(
    for record: RawRecord
  ) -> [(format: DataFormat, evidence: String)] {
    guard case .json(let value) = record.content else { return [(.text, "plain text")] }
    if hasObjects(value, with: "role") {
      return [(.messages, "lists of objects with role and content")]
    }
    var found: [(format: DataFormat, evidence: String)] = []
    if let key = MessagesFormat.listKeys.first(where: { hasObjects(value[$0], with: "role") }) {
      found.append((.messages, "key `\(key)` with role/content objects"))
    }
    if hasObjects(value["conversations"], with: "from") {
      found.append((.shareGPT, "key `conversations` with from/value objects"))
    }
    if value["instruction"]?.stringValue != nil, value["output"]?.stringValue != nil {
      found.append((.alpaca, "keys `instruction` and `output`"))
    }
    if value["text"]?.stringValue != nil { found.append((.text, "key `text`")) }
    return found
  }

  private static func hasObjects(_ value: JSONValue?, with key: String) -> Bool {
    guard let list = value?.arrayValue, let first = list.first else { return false }
    return first[key] != nil
  }

  private static func unknown(_ record: RawRecord) -> DataReadError {
    var seen = "the record is not an object"
    if case .json(.object(let object)) = record.content {
      seen = "the record has the keys \(object.keys.prefix(12).joined(separator: ", "))"
    }
    return DataReadError(
      .unclearFormat,
      "\(seen); known formats: messages (`messages` with role/content), sharegpt "
        + "(`conversations` with from/value), alpaca (`instruction`, `output`), text (`text`); "
        + "rename the keys, or set `format:` of the data source", file: record.file,
      line: record.line, excerpt: record.excerpt)
  }
}
