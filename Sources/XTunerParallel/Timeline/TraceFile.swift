public import Foundation
import XTunerSystem

/// Timelines as files that Perfetto and `chrome://tracing` open: Chrome's trace event format.
///
/// Each rank writes its own; one of them joins all. An event stands on a line of its own, so files
/// are joined without being parsed.
public enum TraceFile {
  private static let head = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":["
  private static let tail = "]}"

  /// `trace-rank-00007.json` for rank 7.
  public static func name(rank: Int) -> String {
    let digits = String(rank)
    return "trace-rank-\(String(repeating: "0", count: max(0, 5 - digits.count)))\(digits).json"
  }

  /// The trace of one rank, as JSON.
  public static func text(of recorder: TimelineRecorder) -> String {
    let lines = TraceLines(recorder).lines
    return "\(head)\n\(lines.joined(separator: ",\n"))\n\(tail)\n"
  }

  /// Writes the trace of one rank to `folder` under its name and returns the file.
  ///
  /// The file appears complete or not at all. Makes the folder where there is none.
  @discardableResult
  public static func write(
    _ recorder: TimelineRecorder, folder: URL
  ) throws(TraceFileError) -> URL {
    let file = folder.appending(path: name(rank: recorder.rank))
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      try Data(text(of: recorder).utf8).write(to: file, options: .atomic)
    } catch {
      throw TraceFileError(
        "\(file.path()): the trace cannot be written: \(SystemReason.text(error))")
    }
    return file
  }

  /// Joins the traces of ranks `0..<rankCount` in `folder` to one file.
  ///
  /// Throws with the names of all files that are missing or not complete; nothing is written then.
  public static func merge(
    folder: URL, rankCount: Int, into file: URL
  ) throws(TraceFileError) {
    precondition(rankCount > 0, "the count of ranks must be positive, is \(rankCount)")
    var problems: [String] = []
    var joined = Data("\(head)\n".utf8)
    for rank in 0..<rankCount {
      do throws(TraceFileError) {
        let lines = try eventLines(of: folder.appending(path: name(rank: rank)))
        if rank > 0 { joined.append(contentsOf: ",\n".utf8) }
        joined.append(lines)
      } catch {
        problems.append(error.description)
      }
    }
    guard problems.isEmpty else { throw TraceFileError(problems.joined(separator: "; ")) }
    joined.append(contentsOf: "\n\(tail)\n".utf8)
    do {
      try joined.write(to: file, options: .atomic)
    } catch {
      throw TraceFileError(
        "\(file.path()): the trace cannot be written: \(SystemReason.text(error))")
    }
  }

  /// What lies between head and tail.
  private static func eventLines(of file: URL) throws(TraceFileError) -> Data {
    let data: Data
    do {
      data = try Data(contentsOf: file)
    } catch {
      throw TraceFileError(
        "\(file.path()): cannot be read, so its rank wrote no trace: \(SystemReason.text(error))")
    }
    let (start, end) = (Data("\(head)\n".utf8), Data("\n\(tail)\n".utf8))
    guard data.starts(with: start), data.count > start.count + end.count,
      data.suffix(end.count) == end
    else {
      throw TraceFileError("\(file.path()): is not a complete trace of one rank; write it again")
    }
    return data.dropFirst(start.count).dropLast(end.count)
  }
}

/// A trace that cannot be written, read or joined.
public struct TraceFileError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The file and what is wrong with it.
  public let description: String

  init(_ description: String) { self.description = description }
}
