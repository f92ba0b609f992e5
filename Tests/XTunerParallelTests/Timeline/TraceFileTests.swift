import Foundation
import Testing

@testable import XTunerParallel

@Suite struct TraceFileTests {
  private func makeRecorder(
    rank: Int, offset: Int64 = 0, events: [TraceEvent] = []
  ) -> TimelineRecorder {
    let recorder = TimelineRecorder(rank: rank, clockOffset: offset)
    for event in events { recorder.add(event) }
    return recorder
  }

  private func event(
    _ name: String, _ range: Range<Int64>, lane: String = "main"
  ) -> TraceEvent {
    TraceEvent(
      name: name, category: .exchange, lane: lane, start: range.lowerBound, end: range.upperBound)
  }

  @Test func anEventHasMicrosecondsRankAndRow() throws {
    let trace = try ParsedTrace(
      makeRecorder(rank: 11, offset: -1_000, events: [event("a", 4_001_007..<4_003_007)]))
    let span = try #require(trace.spans.first)
    #expect(span["ts"] as? Double == 4000.007)
    #expect(span["dur"] as? Double == 2)
    #expect(span["pid"] as? Int == 11)
    #expect(span["tid"] as? Int == 0)
    #expect(span["cat"] as? String == "exchange")
    #expect(trace.rowNames == ["main"])
  }

  @Test(
    arguments: [
      (0, "0.000"), (7, "0.007"), (-7, "-0.007"), (1_000, "1.000"), (-1_234_567, "-1234.567"),
      (Int64.min, "-9223372036854775.808"),
    ] as [(Int64, String)])
  func nanosecondsAreWrittenExactly(nanoseconds: Int64, text: String) {
    #expect(TraceLines.microseconds(nanoseconds) == text)
  }

  @Test(arguments: [
    "\"quoted\"", "back\\slash", "line\nbreak\r\ttab", "\u{0}\u{1}\u{1F}\u{7F}", "\\u0041", "",
    "\u{2028}\u{FEFF}", "Schicht \u{1F9EA} \u{E9} e\u{301}", "]}\n", "\",\"ph\":\"M\"",
  ])
  func anyNameComesBack(name: String) throws {
    let trace = try ParsedTrace(makeRecorder(rank: 0, events: [event(name, 0..<1, lane: name)]))
    let found = try #require(trace.spans.first?["name"] as? String)
    #expect(Array(found.unicodeScalars) == Array(name.unicodeScalars))
    #expect(trace.rowNames.map { Array($0.unicodeScalars) } == [Array(name.unicodeScalars)])
  }

  @Test func anEmptyTraceIsValid() throws {
    #expect(try ParsedTrace(makeRecorder(rank: 0)).spans.isEmpty)
  }

  @Test func overlappingEventsGetRowsOfTheirOwn() {
    let lanes = TraceLanes([
      event("b", 5..<15, lane: "gather"), event("a", 0..<10, lane: "gather"),
      event("inner", 1..<9, lane: "gather"), event("touching", 10..<12, lane: "gather"),
      event("c", 6..<20, lane: "gather"), event("other", 0..<30),
    ])
    let rows = Dictionary(
      uniqueKeysWithValues: lanes.events.map { ($0.event.name, lanes.names[$0.row]) })
    #expect(rows["a"] == "gather")
    #expect(rows["inner"] == "gather")
    #expect(rows["b"] == "gather 2")
    #expect(rows["touching"] == "gather")
    #expect(rows["c"] == "gather 3")
    #expect(rows["other"] == "main")
    #expect(lanes.names == ["gather", "main", "gather 2", "gather 3"])
  }

  @Test func eventsOfNoLengthAndEqualOnesNest() {
    let lanes = TraceLanes([
      event("outer", 3..<7), event("inner", 3..<7), event("point", 7..<7), event("point", 3..<3),
    ])
    #expect(lanes.names == ["main"])
    #expect(lanes.events.count == 4)
  }

  @Test func ranksAreJoinedIntoOneFile() throws {
    let folder = TraceFolder()
    for rank in 0..<3 {
      let events = (0..<rank * 5).map { event("\"\($0)\"\n]}", Int64($0)..<Int64($0 + 1)) }
      let file = try TraceFile.write(makeRecorder(rank: rank, events: events), folder: folder.url)
      #expect(file.lastPathComponent == "trace-rank-0000\(rank).json")
    }
    let merged = folder.url.appending(path: "trace.json")
    try TraceFile.merge(folder: folder.url, rankCount: 3, into: merged)
    let trace = try ParsedTrace(Data(contentsOf: merged))
    let ranks = Array(repeating: 1, count: 5) + Array(repeating: 2, count: 10)
    #expect(trace.spans.map { $0["pid"] as? Int } == ranks)
    let processes = trace.all.filter { $0["name"] as? String == "process_name" }
    #expect(processes.count == 3)
  }

  @Test func missingAndBrokenFilesAreAllNamed() throws {
    let folder = TraceFolder()
    for rank in [0, 2] {
      try TraceFile.write(makeRecorder(rank: rank, events: [event("a", 0..<1)]), folder: folder.url)
    }
    let broken = folder.url.appending(path: TraceFile.name(rank: 2))
    try Data(contentsOf: broken).dropLast(2).write(to: broken)
    let merged = folder.url.appending(path: "trace.json")
    let error = #expect(throws: TraceFileError.self) {
      try TraceFile.merge(folder: folder.url, rankCount: 4, into: merged)
    }
    for name in ["trace-rank-00001.json", "trace-rank-00002.json", "trace-rank-00003.json"] {
      #expect(error?.description.contains(name) == true, "\(error?.description ?? "")")
    }
    #expect(error?.description.contains("trace-rank-00000.json") == false)
    #expect(!FileManager.default.fileExists(atPath: merged.path()))
  }

  @Test func largeRanksKeepTheirNames() {
    #expect(TraceFile.name(rank: 0) == "trace-rank-00000.json")
    #expect(TraceFile.name(rank: 123_456) == "trace-rank-123456.json")
  }
}
