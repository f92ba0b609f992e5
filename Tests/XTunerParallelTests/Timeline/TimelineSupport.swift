import Foundation
import Synchronization
import Testing

@testable import XTunerParallel

/// A clock that moves only when told to.
final class ManualClock: Sendable {
  private let time = Mutex<Int64>(0)

  var now: Int64 {
    get { time.withLock { $0 } }
    set { time.withLock { $0 = newValue } }
  }

  func advance(_ nanoseconds: Int64) { time.withLock { $0 += nanoseconds } }
}

/// The events of a trace, parsed by a JSON library that is not ours.
struct ParsedTrace {
  let all: [[String: Any]]

  init(_ data: Data) throws {
    let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    all = try #require(root["traceEvents"] as? [[String: Any]])
  }

  init(_ recorder: TimelineRecorder) throws {
    try self.init(Data(TraceFile.text(of: recorder).utf8))
  }

  /// Stretches of time.
  var spans: [[String: Any]] { all.filter { $0["ph"] as? String == "X" } }

  /// The names of rows by process and row.
  var rowNames: [String] {
    all.filter { $0["name"] as? String == "thread_name" }
      .compactMap { ($0["args"] as? [String: Any])?["name"] as? String }
  }
}

/// A folder that is removed with its last reference.
final class TraceFolder {
  let url = FileManager.default.temporaryDirectory.appending(
    path: "xtuner-trace-\(UUID().uuidString)", directoryHint: .isDirectory)

  deinit { try? FileManager.default.removeItem(at: url) }
}
