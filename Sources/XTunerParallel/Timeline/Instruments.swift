import Synchronization

/// How a rank's time is measured: waits always, a timeline in the steps that are traced.
public final class Instruments: Sendable {
  /// Time that communication was waited for.
  public let exposed = ExposedTime()
  private let recorder = Mutex<TimelineRecorder?>(nil)

  /// Nothing measured yet, nothing traced.
  public init() {}

  /// Where events are recorded now; nil in a step that is not traced.
  public var timeline: TimelineRecorder? {
    get { recorder.withLock { $0 } }
    set { recorder.withLock { $0 = newValue } }
  }

  /// Runs `body` as work of a lane.
  func record<Result>(
    _ name: @autoclosure () -> String, _ category: TraceCategory, lane: String,
    _ body: () throws -> Result
  ) rethrows -> Result {
    guard let timeline else { return try body() }
    let span = timeline.begin(name(), category, lane: lane)
    defer { timeline.end(span) }
    return try body()
  }

  /// Runs `body`, which waits for something of another rank.
  public func wait<Result, Failure: Error>(
    for category: TraceCategory, _ name: @autoclosure () -> String,
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try exposed.wait(for: category, name(), timeline: timeline, body)
  }
}
