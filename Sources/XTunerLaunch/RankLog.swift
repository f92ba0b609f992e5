import Foundation
import XTunerRun
import XTunerSystem

/// The log file of a rank other than 0, opened for one launch.
///
/// A run that is resumed appends; a line with the time says where a launch begins.
final class RankLog: Sendable {
  /// Bytes at the end of a log that are searched for an error.
  private static let searchedByteCount = 64 << 10
  /// Lines of an error that are shown at most.
  private static let shownLineCount = 8

  let path: String
  let descriptor: Int32
  /// Where this launch begins.
  private let start: Int

  init(
    _ layout: RunLayout, rank: Int, of worldSize: Int, now: Date = Date()
  ) throws(RunDirectoryError) {
    path = layout.log(ofRank: rank)
    descriptor = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw .system(path: path, action: "open for writing", errorNumber: errno)
    }
    start = Int(lseek(descriptor, 0, SEEK_END))
    let time = now.formatted(Date.ISO8601FormatStyle())
    let header = "\(start == 0 ? "" : "\n")\(time) rank \(rank) of \(worldSize) starts\n"
    if let failure = WholeWrite.write(Array(header.utf8), to: descriptor) {
      close(descriptor)
      throw .system(path: path, action: "write", errorNumber: failure)
    }
  }

  deinit { close(descriptor) }

  /// The last error of this launch, or its last lines where none says `error:`; nil for an empty
  /// log.
  func lastError() -> String? {
    let end = Int(lseek(descriptor, 0, SEEK_END))
    let first = max(start, end - Self.searchedByteCount)
    var bytes = [UInt8](repeating: 0, count: max(end - first, 0))
    let count = pread(descriptor, &bytes, bytes.count, off_t(first))
    guard count > 0 else { return nil }
    let lines = String(decoding: bytes.prefix(count), as: UTF8.self)
      .split(whereSeparator: \.isNewline)
      .dropFirst(first == start ? 1 : 0)
      .filter { !$0.allSatisfy(\.isWhitespace) }
    guard !lines.isEmpty else { return nil }
    let error = lines.lastIndex { $0.hasPrefix("error:") }
    let shown = error.map { lines[$0...].prefix(Self.shownLineCount) } ?? lines.suffix(3)
    return shown.joined(separator: "\n")
  }
}
