import Foundation
import Synchronization
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerTrainer

/// What interleaving micro-batches is for: exchanges of one run under the computation of another.
@Suite(.serialized) struct DominoTests {
  private static let layout = ParallelLayout(worldSize: 2, expert: 2)

  /// While rows of one micro-batch travel, stages of the other run.
  ///
  /// The group is slowed down, so that an exchange lasts longer than it takes to start a stage.
  @Test func stagesOfOneMicroBatchRunWhileRowsOfAnotherTravel() throws {
    let events = try runMesh(Self.layout) { mesh in
      mesh.expert.simulatedLatency = .milliseconds(30)
      let recorder = TimelineRecorder(rank: mesh.rank)
      _ = try Self.step(mesh, interleave: 2, timeline: recorder)
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

  /// The share of exchanges that is waited for, with and without interleaving; for docs/schedule.md.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["XTUNER_DOMINO_TABLE"] != nil))
  func printTable() throws {
    print("| latency of a collective | one after another | interleaved |")
    print("| ---: | ---: | ---: |")
    for milliseconds in [0, 2, 5, 10, 20] {
      var cells: [String] = []
      for interleave in [1, 2] {
        let waits = try runMesh(Self.layout) { mesh in
          mesh.expert.simulatedLatency = .milliseconds(milliseconds)
          return try (0..<6).map { _ in
            try Self.step(mesh, interleave: interleave, timeline: nil).communicationSeconds
          }.sorted()[2]
        }
        cells.append("\(Int((waits.max() ?? 0) * 1000)) ms")
      }
      print("| \(milliseconds) ms | \(cells.joined(separator: " | ")) |")
    }
  }

  private static func step(
    _ mesh: ProcessMesh, interleave: Int, timeline: TimelineRecorder?
  ) throws -> StepMeasurement {
    var configuration = ModelConfiguration.qwen3MoE(
      vocabularySize: 512, hiddenSize: 256, expertCount: 8, expertsPerToken: 2, expertSize: 256,
      layerCount: 3, headCount: 4, keyValueHeadCount: 2, headSize: 64, ropeBase: 10_000)
    configuration.normEpsilon = 1e-6
    let prepared = PreparedModel(
      configuration, computeDType: .float32, isTrained: true, mesh: mesh)
    prepared.initialize(seed: 1)
    var options = TrainingEngine.Options()
    options.interleave = interleave
    let engine = TrainingEngine(
      model: prepared.model, units: prepared.units, options: options)
    engine.instruments.timeline = timeline
    let batches = (0..<2).map { index in
      var batch = MicroBatch()
      let tokens = (0..<256).map { Int32(($0 * 37 + index * 11 + mesh.rank * 5) % 500) }
      batch.append(tokens: tokens, labels: tokens, reduction: .token)
      return batch
    }
    return try engine.accumulateGradients(batches)
  }
}
