public import Foundation
import XTunerConfiguration

/// The log of a run for operators: `log.txt`, one line an event, in UTC.
///
/// Messages are constant texts; values go into the fields, with units in their names.
public final class RunLog: Sendable {
  /// How much an event matters.
  public enum Level: String, Sendable {
    /// The ordinary course of the run.
    case info
    /// The run goes on, but differs from what was asked.
    case warning
    /// The run stops.
    case error
  }

  /// The event of a checkpoint that is on the disk, under its name.
  package static let checkpointWritten = "checkpoint written"
  /// The event of a session's start.
  package static let runStarted = "run started"
  /// The origin of a session that begins at step 0.
  package static let newRun = "new run"
  private static let newRunField = "origin=\"\(newRun)\""

  private let file: AppendOnlyFile
  private let now: @Sendable () -> Date

  /// Opens the log, which grows over all processes that worked on the run.
  ///
  /// - Parameters:
  ///   - path: Usually ``RunLayout/log``.
  ///   - now: The clock; replaced in tests.
  /// - Throws: ``RunDirectoryError`` when the file cannot be opened for writing.
  public init(
    path: String, now: @escaping @Sendable () -> Date = { Date() }
  ) throws(RunDirectoryError) {
    file = try AppendOnlyFile(path: path)
    self.now = now
  }

  /// Appends an event.
  ///
  /// - Parameters:
  ///   - level: How much it matters.
  ///   - message: What happened, without values.
  ///   - fields: The values, written as `name=value` in this order.
  /// - Throws: ``RunDirectoryError`` when the disk is full.
  public func write(
    _ level: Level, _ message: String, _ fields: KeyValuePairs<String, String> = [:]
  ) throws(RunDirectoryError) {
    var line = "\(Self.timestamp(now())) \(level.rawValue) \(message)"
    for (name, value) in fields {
      let isPlain =
        !value.isEmpty
        && value.unicodeScalars.allSatisfy {
          !$0.properties.isWhitespace && $0 != "\"" && $0.properties.generalCategory != .control
        }
      line += " \(name)=\(isPlain ? value : ConfigurationValue.quoted(value))"
    }
    let single = line.replacing("\r", with: "\\r").replacing("\n", with: "\\n")
    try file.append(Array("\(single)\n".utf8))
  }

  /// The step of the last checkpoint that a log says was written since the run last began anew; nil
  /// where it says so of none.
  package static func lastCheckpointStep(inLog path: String) -> Int? {
    guard let contents = FileManager.default.contents(atPath: path) else { return nil }
    let written = " \(Level.info.rawValue) \(checkpointWritten) step="
    for line in String(decoding: contents, as: UTF8.self).split(separator: "\n").reversed() {
      if let event = line.range(of: written) {
        return Int(line[event.upperBound...].prefix { $0.isASCII && $0.isNumber })
      }
      if line.contains(" \(Level.info.rawValue) \(runStarted) "), line.contains(newRunField) {
        return nil
      }
    }
    return nil
  }

  /// Waits until the log is on the disk.
  public func synchronize() throws(RunDirectoryError) {
    try file.synchronize()
  }

  private static func timestamp(_ date: Date) -> String {
    date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }
}
