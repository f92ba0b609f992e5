/// What a stretch of a rank's time was spent on; colours and totals go by it.
public enum TraceCategory: String, Sendable, Hashable, Codable, CaseIterable {
  /// Forward and backward passes of stages.
  case compute
  /// Parameters gathered from other ranks.
  case gather
  /// Gradients summed over ranks.
  case reduce
  /// Rows or heads that travel between ranks.
  case exchange
  /// Copies between device and host memory.
  case swap
  /// Nothing done, because something else had not ended.
  case wait
  /// Gradient norm and update.
  case optimizer
  /// Samples read, packed and assigned.
  case data

  /// The place among all cases.
  var index: Int {
    switch self {
    case .compute: 0
    case .gather: 1
    case .reduce: 2
    case .exchange: 3
    case .swap: 4
    case .wait: 5
    case .optimizer: 6
    case .data: 7
    }
  }
}

/// One stretch of time of one lane.
public struct TraceEvent: Sendable, Hashable {
  /// What was done, such as `forward layers.3 attention 1`.
  public var name: String
  /// The kind of work.
  public var category: TraceCategory
  /// The row of the picture, such as the name of a thread or of a process group.
  public var lane: String
  /// Nanoseconds of the rank's monotonic clock.
  public var start: Int64
  /// Nanoseconds of the rank's monotonic clock; not before `start`.
  public var end: Int64

  /// An event from its parts.
  public init(name: String, category: TraceCategory, lane: String, start: Int64, end: Int64) {
    self.name = name
    self.category = category
    self.lane = lane
    self.start = start
    self.end = max(start, end)
  }
}

/// Work under way, from ``TimelineRecorder/begin(_:_:lane:)``; it may end on another thread.
public struct TraceSpan: Sendable {
  let name: String
  let category: TraceCategory
  let lane: String
  let start: Int64
}
