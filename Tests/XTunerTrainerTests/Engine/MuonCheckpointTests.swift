import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Checkpoints of Muon, whose second moments are those of some parameters only.
@Suite(.serialized) struct MuonCheckpointTests {
  private struct State: Codable {}

  @Test(arguments: [
    (LayoutCase(model: "qwen3_moe"), LayoutCase(model: "qwen3_moe", ranks: 4, expert: 2)),
    (LayoutCase(model: "qwen3_moe", ranks: 4, expert: 2), LayoutCase(model: "qwen3_moe", ranks: 2)),
    (LayoutCase(model: "qwen3_moe", ranks: 2, replicate: 2), LayoutCase(model: "qwen3_moe")),
  ])
  func goOnWithAnyLayout(_ first: LayoutCase, _ second: LayoutCase) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let store = RunCheckpointStore(folder: folder)
    _ = try runMesh(first.layout) { mesh in
      let model = try MuonModel(first.model, mesh: mesh)
      for step in 0..<2 { try model.step(step) }
      try Self.save(model, to: store, mesh: mesh)
      return 0
    }
    let whole = try MuonModel(second.model, mesh: ProcessMesh())
    for step in 0..<3 { try whole.step(step) }
    let expected = try whole.weights()
    let ranks = try runMesh(second.layout) { mesh in
      let model = try MuonModel(second.model, mesh: mesh)
      let checkpoint = try RunCheckpoint(path: store.path(step: 2))
      try UnitFiles.load(checkpoint, into: model.muon.checkpointParts(includesMoments: true))
      model.muon.stepCount = 2
      try model.step(2)
      return try model.weights()
    }
    for (name, values) in expected {
      let difference = zip(values, try #require(ranks[0][name])).map { abs($0 - $1) }.max() ?? 0
      #expect(difference < 1e-6, "\(name): off by \(difference)")
    }
  }

  private static func save(
    _ model: MuonModel, to store: RunCheckpointStore, mesh: ProcessMesh
  ) throws {
    let (files, pieces) = UnitFiles.contents(
      model.muon.checkpointParts(includesMoments: true), mesh: mesh)
    let contents = try RunCheckpointContents(
      step: 2, files: files, pieces: pieces, state: State(), configurationHash: "none",
      libraryVersions: [:])
    let unfinished = mesh.rank == 0 ? try store.begin(step: 2) : nil
    try mesh.world.barrier(label: "begin")
    try store.writePart(contents, index: mesh.rank)
    try mesh.world.barrier(label: "written")
    _ = try unfinished?.commit(contents, partCount: mesh.world.size)
  }
}
