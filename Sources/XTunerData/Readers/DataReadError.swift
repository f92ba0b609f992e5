/// Why training data cannot be read.
public struct DataReadError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of fault it is, for programs.
  public enum Code: String, Sendable, Hashable {
    /// A path that does not exist, or a folder or pattern without data files.
    case noFiles
    /// A file that the system cannot open or read.
    case unreadableFile
    /// A file kind that is not read here.
    case unsupportedFile
    /// A compressed file that ends early or is damaged.
    case damagedFile
    /// A line that is not JSON, or text that is not UTF-8.
    case invalidText
    /// A record that does not fit its format.
    case invalidRecord
    /// Records whose format cannot be told.
    case unclearFormat
    /// A source without any record.
    case noRecords
  }

  /// What kind of fault it is.
  public let code: Code
  /// What is wrong and what would work, without the place.
  public let message: String
  /// The file at fault, when there is one.
  public let file: String?
  /// The line at fault, counted from 1, when there is one.
  public let line: Int?
  /// The beginning of the text at fault, when there is one.
  public let excerpt: String?

  init(
    _ code: Code, _ message: String, file: String? = nil, line: Int? = nil, excerpt: String? = nil
  ) {
    self.code = code
    self.message = message
    self.file = file
    self.line = line
    self.excerpt = excerpt
  }

  /// The message with its place and excerpt: `data.jsonl:12: ... (in: {"a" 1})`.
  public var description: String {
    var place = file.map { "\($0):" } ?? ""
    if let line { place += "\(line):" }
    let detail = excerpt.map { " (in: \($0))" } ?? ""
    return place.isEmpty ? "\(message)\(detail)" : "\(place) \(message)\(detail)"
  }

  /// A printable stretch of a line, at most 120 bytes around an offset.
  static func excerpt(of bytes: UnsafeBufferPointer<UInt8>, around offset: Int = 0) -> String {
    let length = 120
    let lead = 40
    let start = max(0, min(offset - lead, bytes.count - length))
    let end = min(bytes.count, start + length)
    let text = String(decoding: bytes[start..<end], as: UTF8.self).unicodeScalars
      .map { $0.properties.generalCategory == .control ? "\u{FFFD}" : String($0) }.joined()
    return "\(start > 0 ? "..." : "")\(text)\(end < bytes.count ? "..." : "")"
  }
}
