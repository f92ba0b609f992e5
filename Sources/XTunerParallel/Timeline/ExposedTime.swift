import Synchronization

/// Adds up how long a rank waited, for each category, until somebody takes the sums.
///
/// The engine wraps every wait in it: what is hidden under computation costs nothing here, so the
/// sums are the part of communication that is exposed. May be used from all threads.
public final class ExposedTime: Sendable {
  /// The lane of waits in a timeline.
  public static let lane = "waits"

  private let clock: @Sendable () -> Int64
  /// Nanoseconds of each category, by its index.
  private let totals = Mutex([Int64](repeating: 0, count: TraceCategory.allCases.count))

  /// Counters at zero; `clock` gives monotonic nanoseconds.
  public init(clock: @escaping @Sendable () -> Int64 = { TraceClock.now() }) {
    self.clock = clock
  }

  /// Counts the time that `body` takes, also when it throws.
  ///
  /// - Parameters:
  ///   - category: What is waited for.
  ///   - name: What a timeline calls the wait.
  ///   - timeline: Where the wait is recorded as well, if anywhere.
  ///   - body: Waits.
  /// - Returns: What `body` returns.
  /// - Throws: What `body` throws.
  public func wait<Result, Failure: Error>(
    for category: TraceCategory, _ name: @autoclosure () -> String = "",
    timeline: TimelineRecorder? = nil, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let start = clock()
    defer {
      let end = clock()
      add(nanoseconds: end - start, to: category)
      // What was there already is no wait.
      if let timeline, end - start >= 1000 {
        let text = name()
        timeline.add(
          TraceEvent(
            name: text.isEmpty ? category.rawValue : text, category: .wait, lane: Self.lane,
            start: start, end: end))
      }
    }
    return try body()
  }

  /// Adds time that was measured elsewhere; less than nothing counts as nothing.
  public func add(nanoseconds: Int64, to category: TraceCategory) {
    totals.withLock { $0[category.index] += max(nanoseconds, 0) }
  }

  /// Seconds waited for each category that was waited for.
  public var seconds: [TraceCategory: Double] { Self.seconds(totals.withLock { $0 }) }

  /// The same, and starts again at zero: once a step.
  public func take() -> [TraceCategory: Double] {
    Self.seconds(
      totals.withLock { totals in
        let taken = totals
        for index in totals.indices { totals[index] = 0 }
        return taken
      })
  }

  private static func seconds(_ totals: [Int64]) -> [TraceCategory: Double] {
    var seconds: [TraceCategory: Double] = [:]
    for category in TraceCategory.allCases where totals[category.index] > 0 {
      seconds[category] = Double(totals[category.index]) / 1e9
    }
    return seconds
  }
}
