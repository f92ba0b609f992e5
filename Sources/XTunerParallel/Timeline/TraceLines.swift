/// A rank's events as JSON objects, one a line, with those that name the rank and its rows.
struct TraceLines {
  private(set) var lines: [String] = []

  private let rank: Int

  init(_ recorder: TimelineRecorder) {
    rank = recorder.rank
    let lanes = TraceLanes(recorder.events)
    name("process_name", row: 0, value: Self.quoted("rank \(rank)"))
    name("process_sort_index", row: 0, key: "sort_index", value: "\(rank)")
    let droppedCount = recorder.droppedCount
    if droppedCount > 0 {
      let label = "\(droppedCount) events beyond \(recorder.capacity) left out"
      name("process_labels", row: 0, key: "labels", value: Self.quoted(label))
    }
    for (row, lane) in lanes.names.enumerated() {
      name("thread_name", row: row, value: Self.quoted(lane))
      name("thread_sort_index", row: row, key: "sort_index", value: "\(row)")
    }
    lines.reserveCapacity(lines.count + lanes.events.count)
    for (event, row) in lanes.events { add(event, row: row, offset: recorder.clockOffset) }
  }

  private mutating func name(_ kind: String, row: Int, key: String = "name", value: String) {
    lines.append(
      """
      {"ph":"M","pid":\(rank),"tid":\(row),"name":"\(kind)","args":{"\(key)":\(value)}}
      """)
  }

  private mutating func add(_ event: TraceEvent, row: Int, offset: Int64) {
    let start = Self.microseconds(event.start + offset)
    let duration = Self.microseconds(event.end - event.start)
    lines.append(
      """
      {"ph":"X","pid":\(rank),"tid":\(row),"ts":\(start),"dur":\(duration),\
      "cat":"\(event.category.rawValue)","name":\(Self.quoted(event.name))}
      """)
  }

  /// Nanoseconds as microseconds with three digits: exact, unlike a floating-point number.
  static func microseconds(_ nanoseconds: Int64) -> String {
    let size = nanoseconds.magnitude
    let fraction = String(size % 1000)
    let zeros = String(repeating: "0", count: 3 - fraction.count)
    return "\(nanoseconds < 0 ? "-" : "")\(size / 1000).\(zeros)\(fraction)"
  }

  /// A JSON string.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\u{0}"..."\u{1F}", "\u{7F}":
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)"
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
