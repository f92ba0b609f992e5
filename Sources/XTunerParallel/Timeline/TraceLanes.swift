/// Rows of a rank's picture, in which events lie beside or inside each other but never across.
///
/// A viewer draws the events of one row as a tree. What overlaps in part, such as two collectives
/// under way at once, gets rows of its own: `gather`, `gather 2`.
struct TraceLanes {
  /// The names of rows; their place is the number of the row.
  private(set) var names: [String] = []
  /// Each event with the number of its row, by start.
  private(set) var events: [(event: TraceEvent, row: Int)] = []

  private var rowsOfLane: [String: [Int]] = [:]  // own names
  /// The ends of the events that lie around the next one, for each row, outermost first.
  private var openEnds: [[Int64]] = []

  init(_ unordered: [TraceEvent]) {
    // Lanes keep the order of their first recorded event, which is the order of first use.
    for event in unordered where rowsOfLane[event.lane] == nil {
      rowsOfLane[event.lane] = [addRow(event.lane)]
    }
    let ordered = unordered.enumerated().sorted { first, second in
      // What starts together is nested by its length.
      (first.element.start, -first.element.end, first.offset)
        < (second.element.start, -second.element.end, second.offset)
    }
    events.reserveCapacity(unordered.count)
    for (_, event) in ordered { events.append((event, place(event))) }
  }

  private mutating func place(_ event: TraceEvent) -> Int {
    let rows = rowsOfLane[event.lane] ?? []
    for row in rows {
      while let end = openEnds[row].last, end <= event.start { openEnds[row].removeLast() }
      if event.end <= openEnds[row].last ?? .max {
        openEnds[row].append(event.end)
        return row
      }
    }
    let row = addRow("\(event.lane) \(rows.count + 1)")
    rowsOfLane[event.lane, default: []].append(row)
    openEnds[row].append(event.end)
    return row
  }

  private mutating func addRow(_ name: String) -> Int {
    names.append(name)
    openEnds.append([])
    return names.count - 1
  }
}
