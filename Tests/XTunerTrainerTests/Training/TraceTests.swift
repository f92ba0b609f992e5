import Foundation
import Testing
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

@Suite struct TraceTests {
  @Test func tracedStepsAreInTheTimelineAndNoOthers() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let outcome = try TrainingRun(
      try tiny.configuration(run: "a", ["training.recompute=full"]), resume: .automatic,
      stopRequest: StopRequest(), tracedSteps: try TraceSteps("2..3")
    ).run()
    let events = try Self.events(outcome.layout.trace)
    let names = events.compactMap { $0["name"] as? String }
    // Two micro-batches a step, two steps.
    #expect(names.count { $0 == "loss #0" } == 4)
    #expect(names.count { $0 == "update" } == 2)
    #expect(names.count { $0 == "next step" } == 2)
    #expect(names.count { $0.hasPrefix("recompute layers.1 [project attend route") } == 4)
    #expect(events.allSatisfy { ($0["dur"] as? Double ?? -1) >= 0 })
  }

  @Test func aRunThatEndsEarlierStillWritesItsTimeline() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let outcome = try TrainingRun(
      try tiny.configuration(run: "a"), resume: .automatic, stopRequest: StopRequest(),
      tracedSteps: try TraceSteps("7..20")
    ).run()
    let names = try Self.events(outcome.layout.trace).compactMap { $0["name"] as? String }
    #expect(names.count { $0 == "update" } == 2)
  }

  @Test func stepsBeyondTheRunAreRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: TrainingError.self) {
      try TrainingRun(
        try tiny.configuration(run: "a"), resume: .automatic, stopRequest: StopRequest(),
        tracedSteps: try TraceSteps("9"))
    }
    #expect(error?.description.contains("the run has 8 steps") == true)
  }

  private static func events(_ path: String) throws -> [[String: Any]] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path))
    let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let events = try #require(object["traceEvents"] as? [[String: Any]])
    return events.filter { $0["ph"] as? String == "X" }
  }
}
