import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Hugging Face folders in and out while parameters are spread over ranks.
@Suite(.serialized) struct ShardedWeightsTests {
  static let layouts = [
    ParallelLayout(worldSize: 2), ParallelLayout(worldSize: 3),
    ParallelLayout(worldSize: 4, replicate: 2, expert: 2),
    ParallelLayout(worldSize: 4, expert: 2, expertTensor: 2),
    ParallelLayout(worldSize: 4, expertTensor: 4),
  ]

  /// Read by all ranks and written again, every tensor has the same bits, -0 among them.
  @Test(arguments: layouts)
  func roundTripIsBitExact(_ layout: ParallelLayout) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let source = "\(folder)/source"
    let original = try ReferenceModel(name: "qwen3_moe").prepared()
    for parameter in original.model.parameters {
      let weights = original.units.writableView(of: parameter).view([-1])
      withoutGradients {
        weights.narrowed(dim: 0, start: weights.size(0) - 1, length: 1).fill(-0.0)
      }
    }
    try HFWeights.export(
      original.model, units: original.units, to: source, dtype: .float32)
    _ = try runMesh(layout) { mesh in
      let prepared = try PreparedModel(
        path: source, computeDType: .bfloat16, isTrained: true, mesh: mesh)
      try HFWeights.export(
        prepared.model, units: prepared.units, to: "\(folder)/copy", dtype: .float32,
        maximumShardByteCount: 100_000)
    }
    let (a, b) = (
      try HFCheckpointFolder(path: source), try HFCheckpointFolder(path: "\(folder)/copy")
    )
    #expect(a.entries.map(\.name).sorted() == b.entries.map(\.name).sorted())
    for entry in a.entries {
      #expect(
        try a.file(of: entry.name).tensor(entry.name).floats().map(\.bitPattern)
          == b.file(of: entry.name).tensor(entry.name).floats().map(\.bitPattern),
        "\(entry.name)")
    }
  }

  /// First weights are the same for any layout.
  @Test(arguments: layouts)
  func firstWeightsDoNotDependOnRanks(_ layout: ParallelLayout) throws {
    let configuration = try ModelConfiguration(path: ReferenceModel(name: "qwen3_moe").folder)
    @Sendable func weights(_ mesh: ProcessMesh) throws -> [[Float]] {
      let prepared = PreparedModel(
        configuration, computeDType: .float32, isTrained: true, mesh: mesh)
      prepared.initialize(seed: 11)
      return try prepared.model.parameters.map {
        try prepared.units.assembled($0, elements: 0..<$0.elementCount, dtype: .float32).floats()
      }
    }
    let expected = try weights(ProcessMesh())
    for found in try runMesh(layout, { try weights($0) }) { #expect(found == expected) }
  }

  /// A failure to write on rank 0 is that, and not a hang of the others.
  @Test func failingExportDoesNotHoldTheOthersBack() throws {
    let outcomes = try runMesh(ParallelLayout(worldSize: 2), timeout: .seconds(20)) { mesh in
      let prepared = try ReferenceModel(name: "qwen3_tied").prepared(mesh: mesh)
      do {
        try HFWeights.export(
          prepared.model, units: prepared.units, to: "/proc/no-such-place", dtype: .float32)
        return "done"
      } catch {
        return "\(error)"
      }
    }
    #expect(outcomes[0].contains("/proc/no-such-place"))
    #expect(outcomes[1] == "done")
  }

  /// The configuration is rank 0's to write, and has errors of another type.
  @Test func aConfigurationThatCannotBeWrittenDoesNotHoldTheOthersBack() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let outcomes = try runMesh(ParallelLayout(worldSize: 2), timeout: .seconds(20)) { mesh in
      var configuration = try ModelConfiguration(path: ReferenceModel(name: "qwen3_tied").folder)
      configuration.balanceLossCoefficient = -1
      let prepared = PreparedModel(
        configuration, computeDType: .float32, isTrained: true, mesh: mesh)
      do {
        try HFWeights.export(
          prepared.model, units: prepared.units, to: folder, dtype: .float32)
        return "done"
      } catch {
        return "\(error)"
      }
    }
    #expect(outcomes[0].contains("router_aux_loss_coef: must not be negative"), "\(outcomes[0])")
    #expect(outcomes[1] == "done")
    #expect(!FileManager.default.fileExists(atPath: folder))
  }
}
