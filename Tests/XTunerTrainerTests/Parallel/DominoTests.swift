import RankThreads
import Testing
import Torch
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// What interleaving micro-batches is for: exchanges of one run under the computation of another.
@Suite(.serialized) struct DominoTests {
  /// While rows of one micro-batch travel, stages of the other run.
  ///
  /// The group is slowed down, so that an exchange lasts longer than it takes to start a stage.
  @Test func stagesOfOneMicroBatchRunWhileRowsOfAnotherTravel() throws {
    let events = try runMesh(DominoTrial.layout) { mesh in
      mesh.expert.simulatedLatency = .milliseconds(30)
      let recorder = TimelineRecorder(rank: mesh.rank)
      _ = try DominoTrial.step(mesh, interleave: 2, timeline: recorder)
      return recorder.events
    }
    for own in events {
      let computed = own.filter { $0.category == .compute }
      let dispatches = own.filter { $0.category == .exchange && $0.name.hasSuffix("dispatch") }
      #expect(dispatches.count == 6)
      var beganInTime = 0
      for (index, dispatch) in dispatches.enumerated() where index.isMultiple(of: 2) {
        let layer = try #require(dispatch.name.split(separator: " ").first)
        let other = try #require(
          computed.first {
            $0.name.contains("forward \(layer) [project") && $0.name.hasSuffix("#1")
          })
        #expect(other.start < dispatch.end, "\(dispatch.name) was waited for")
        if dispatch.start < other.end { beganInTime += 1 }
      }
      // A busy machine may start the exchange's thread late, but not always.
      #expect(beganInTime > 0, "dispatches were issued after the other micro-batch's stages")
    }
  }
}
