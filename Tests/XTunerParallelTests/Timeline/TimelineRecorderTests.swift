import Foundation
import Testing

@testable import XTunerParallel

private struct Failure: Error, Equatable {}

@Suite struct TimelineRecorderTests {
  private let clock = ManualClock()

  private func makeRecorder(capacity: Int = 100) -> TimelineRecorder {
    TimelineRecorder(rank: 3, capacity: capacity, clock: { [clock] in clock.now })
  }

  @Test func measuresWhatABodyTakes() {
    let recorder = makeRecorder()
    clock.now = 17
    let result = recorder.record("a", .compute, lane: "main") {
      clock.advance(5)
      return "done"
    }
    #expect(result == "done")
    #expect(
      recorder.events
        == [TraceEvent(name: "a", category: .compute, lane: "main", start: 17, end: 22)])
  }

  @Test func measuresABodyThatThrowsAndKeepsTheErrorsType() {
    let recorder = makeRecorder()
    do throws(Failure) {
      try recorder.record("a", .gather, lane: "main") { () throws(Failure) in
        clock.advance(3)
        throw Failure()
      }
    } catch {
      #expect(error == Failure())
    }
    #expect(recorder.events.map(\.end) == [3])
  }

  @Test func spansEndOnOtherThreads() async {
    let recorder = makeRecorder()
    let span = recorder.begin("gather", .gather, lane: "shard")
    clock.advance(7)
    await Task.detached { recorder.end(span) }.value
    #expect(recorder.events.map(\.end) == [7])
  }

  @Test func withoutARecorderOnlyTheBodyRuns() throws {
    let recorder: TimelineRecorder? = nil
    var nameCount = 0
    func name() -> String {
      nameCount += 1
      return "a"
    }
    #expect(recorder.record(name(), .compute, lane: "main") { 5 } == 5)
    #expect(recorder.begin(name(), .compute, lane: "main") == nil)
    recorder.end(nil)
    #expect(throws: Failure.self) {
      try recorder.record(name(), .compute, lane: "main") { throw Failure() }
    }
    #expect(nameCount == 0)
    let present: TimelineRecorder? = makeRecorder()
    #expect(present.record(name(), .compute, lane: "main") { 7 } == 7)
    present.end(present.begin(name(), .data, lane: "main"))
    #expect(present?.events.map(\.category) == [.compute, .data])
  }

  @Test func keepsTheFirstEventsAndCountsTheOthers() throws {
    let recorder = makeRecorder(capacity: 2)
    for index in 0..<5 { recorder.record("\(index)", .data, lane: "main") {} }
    #expect(recorder.events.map(\.name) == ["0", "1"])
    #expect(recorder.droppedCount == 3)
    #expect(TraceFile.text(of: recorder).contains("3 events beyond 2 left out"))
    recorder.removeAll()
    #expect(recorder.events.isEmpty && recorder.droppedCount == 0)
  }

  @Test func manyThreadsLoseNothing() {
    let recorder = TimelineRecorder(rank: 0)
    DispatchQueue.concurrentPerform(iterations: 8) { lane in
      for index in 0..<500 { recorder.record("\(index)", .compute, lane: "lane \(lane)") {} }
    }
    #expect(recorder.events.count == 4000)
    let counts = Dictionary(grouping: recorder.events, by: \.lane).mapValues(\.count)
    #expect(counts == Dictionary(uniqueKeysWithValues: (0..<8).map { ("lane \($0)", 500) }))
    #expect(recorder.events.allSatisfy { $0.start <= $0.end })
  }

  @Test func theClockDoesNotGoBack() {
    let first = TraceClock.now()
    #expect(first > 0)
    #expect(TraceClock.now() >= first)
  }

  @Test func theOffsetIsTheMedianDifferenceToRankZero() {
    let samples: [[Int64]] = [[100, 40, 90], [200, 139, 190], [300, 290, 291]]
    #expect(TraceClock.offset(ofRank: 0, samples: samples) == 0)
    #expect(TraceClock.offset(ofRank: 1, samples: samples) == 60)
    #expect(TraceClock.offset(ofRank: 2, samples: samples) == 10)
  }
}

@Suite struct ExposedTimeTests {
  @Test func addsUpWaitsUntilTheyAreTaken() throws {
    let clock = ManualClock()
    let exposed = ExposedTime(clock: { clock.now })
    let recorder = TimelineRecorder(rank: 0, clock: { clock.now })
    exposed.wait(for: .gather) { clock.advance(2_000_000_000) }
    #expect(throws: Failure.self) {
      try exposed.wait(for: .gather, "layers.3", timeline: recorder) {
        clock.advance(500_000_000)
        throw Failure()
      }
    }
    let value = exposed.wait(for: .exchange) {
      clock.advance(250_000_000)
      return 7
    }
    exposed.add(nanoseconds: -5, to: .reduce)
    #expect(value == 7)
    #expect(exposed.seconds == [.gather: 2.5, .exchange: 0.25])
    #expect(exposed.take() == [.gather: 2.5, .exchange: 0.25])
    #expect(exposed.take().isEmpty)
    #expect(recorder.events.map(\.name) == ["layers.3"])
    #expect(recorder.events.map(\.category) == [.wait])
  }

  @Test func categoriesHaveTheirOwnPlaces() {
    #expect(TraceCategory.allCases.map(\.index) == Array(TraceCategory.allCases.indices))
  }
}

@Suite struct TraceStepsTests {
  @Test(arguments: [("10", 10...10), ("10..12", 10...12), ("7..7", 7...7), ("007", 7...7)])
  func readsAStepOrARange(text: String, steps: ClosedRange<Int>) throws {
    #expect(try TraceSteps(text).steps == steps)
  }

  @Test func writesWhatItReads() throws {
    #expect(try TraceSteps("10..12").description == "10..12")
    #expect(try TraceSteps("3").description == "3")
    #expect(try TraceSteps("3..5").contains(5))
    #expect(try !TraceSteps("3..5").contains(6))
  }

  @Test(
    arguments: [
      ("12..10", "10..12 would work"), ("0", "must not be below 1"), ("0..3", "below 1"),
      ("", "10..12"), ("..", "10..12"), ("3..", "10..12"), ("..3", "10..12"), ("3...5", "10..12"),
      ("3..5..7", "10..12"), ("-3", "10..12"), ("+3", "10..12"), (" 3", "10..12"),
      ("ten", "10..12"), ("3-5", "10..12"), ("\u{0663}", "10..12"),
      ("99999999999999999999", "too many digits"),
    ])
  func saysWhatIsWrong(text: String, part: String) {
    let error = #expect(throws: TraceStepsError.self) { try TraceSteps(text) }
    #expect(error?.description.contains(part) == true, "\(error?.description ?? "")")
    #expect(error?.description.hasSuffix("is \"\(text)\"") == true)
  }
}
