import Synchronization

/// Collects what one rank did when, for the steps that are traced.
///
/// May be used from all threads of the rank. The engine holds an optional one: the methods of
/// `TimelineRecorder?` cost one branch where there is none, and names are then not even made.
public final class TimelineRecorder: Sendable {
  /// 1,048,576 events: about 100 MB, and more than viewers like to open.
  public static let defaultCapacity = 1 << 20

  /// The rank whose time this is.
  public let rank: Int
  /// Nanoseconds to add to this rank's clock for the clock of rank 0.
  public let clockOffset: Int64
  /// Events that are kept at most; later ones are counted only.
  public let capacity: Int

  private struct State {
    var events: [TraceEvent] = []
    var droppedCount = 0
  }

  private let clock: @Sendable () -> Int64
  private let state = Mutex(State())

  /// A recorder without events.
  ///
  /// - Parameters:
  ///   - rank: The rank, which names the file and the process in the picture.
  ///   - clockOffset: Nanoseconds to add for the clock of rank 0; see
  ///     ``TraceClock/offset(ofRank:samples:)``.
  ///   - capacity: Events that are kept at most.
  ///   - clock: Monotonic nanoseconds.
  public init(
    rank: Int, clockOffset: Int64 = 0, capacity: Int = defaultCapacity,
    clock: @escaping @Sendable () -> Int64 = { TraceClock.now() }
  ) {
    precondition(rank >= 0, "a rank must not be negative, is \(rank)")
    precondition(capacity > 0, "the capacity must be positive, is \(capacity)")
    self.rank = rank
    self.clockOffset = clockOffset
    self.capacity = capacity
    self.clock = clock
  }

  /// What was recorded so far, in the order in which it ended.
  public var events: [TraceEvent] { state.withLock { $0.events } }

  /// Events beyond the capacity, which were not kept.
  public var droppedCount: Int { state.withLock { $0.droppedCount } }

  /// Forgets all events.
  public func removeAll() { state.withLock { $0 = State() } }

  /// The time on this rank's clock, in nanoseconds.
  public func now() -> Int64 { clock() }

  /// Adds an event that was measured elsewhere.
  public func add(_ event: TraceEvent) {
    state.withLock { state in
      guard state.events.count < capacity else {
        state.droppedCount += 1
        return
      }
      state.events.append(event)
    }
  }

  /// Starts to measure work that ends elsewhere, such as a collective.
  public func begin(_ name: String, _ category: TraceCategory, lane: String) -> TraceSpan {
    TraceSpan(name: name, category: category, lane: lane, start: clock())
  }

  /// Ends what `begin` started.
  public func end(_ span: TraceSpan) {
    add(
      TraceEvent(
        name: span.name, category: span.category, lane: span.lane, start: span.start,
        end: clock()))
  }

  /// Measures `body`, also when it throws.
  public func record<Result, Failure: Error>(
    _ name: @autoclosure () -> String, _ category: TraceCategory, lane: String,
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let span = begin(name(), category, lane: lane)
    defer { end(span) }
    return try body()
  }
}

extension TimelineRecorder? {
  /// Measures `body` where there is a recorder.
  package func record<Result, Failure: Error>(
    _ name: @autoclosure () -> String, _ category: TraceCategory, lane: String,
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    guard let self else { return try body() }
    return try self.record(name(), category, lane: lane, body)
  }

  /// Starts to measure where there is a recorder; nil otherwise.
  package func begin(
    _ name: @autoclosure () -> String, _ category: TraceCategory, lane: String
  ) -> TraceSpan? {
    self?.begin(name(), category, lane: lane)
  }

  /// Ends what `begin` started.
  package func end(_ span: TraceSpan?) {
    guard let self, let span else { return }
    self.end(span)
  }
}
