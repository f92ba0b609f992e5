import Testing
import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// The same gradients give the same weights on any number of ranks.
@Suite(.serialized) struct MuonParallelTests {
  @Test(arguments: [
    LayoutCase(model: "qwen3_tied", ranks: 2), LayoutCase(model: "qwen3_tied", ranks: 4),
    LayoutCase(model: "qwen3_tied", ranks: 4, replicate: 2),
    LayoutCase(model: "qwen3_moe", ranks: 2), LayoutCase(model: "qwen3_moe", ranks: 2, expert: 2),
    LayoutCase(model: "qwen3_moe", ranks: 2, replicate: 2),
    LayoutCase(model: "qwen3_moe", ranks: 4), LayoutCase(model: "qwen3_moe", ranks: 4, expert: 2),
    LayoutCase(model: "qwen3_moe", ranks: 4, expert: 4),
    LayoutCase(model: "qwen3_moe", ranks: 4, replicate: 2, expert: 2),
  ])
  func layoutChangesNoWeight(_ testCase: LayoutCase) throws {
    let expected = try Self.weights(model: testCase.model, mesh: ProcessMesh())
    let ranks = try runMesh(testCase.layout) {
      try Self.weights(model: testCase.model, mesh: $0)
    }
    for (rank, weights) in ranks.enumerated() {
      #expect(weights.count == expected.count)
      for (name, values) in expected {
        let others = try #require(weights[name])
        let difference = zip(values, others).map { abs($0 - $1) }.max() ?? 0
        #expect(difference < 1e-6, "rank \(rank), \(name): off by \(difference)")
      }
    }
  }

  /// Ranks that get a unit late, or have none of its matrices to compute, change nothing either.
  @Test func slowExchangesChangeNoWeight() throws {
    let layout = LayoutCase(model: "qwen3_moe", ranks: 4, expert: 2).layout
    let expected = try Self.weights(model: "qwen3_moe", mesh: ProcessMesh())
    let ranks = try runMesh(layout) { mesh in
      for group in mesh.groups { group.simulatedLatency = .milliseconds(3) }
      return try Self.weights(model: "qwen3_moe", mesh: mesh)
    }
    for (name, values) in expected {
      let difference = zip(values, ranks[3][name]!).map { abs($0 - $1) }.max() ?? 0
      #expect(difference < 1e-6, "\(name): off by \(difference)")
    }
  }

  private static func weights(model: String, mesh: ProcessMesh) throws -> MuonModel.Weights {
    let model = try MuonModel(model, mesh: mesh)
    for step in 0..<3 { try model.step(step) }
    return try model.weights()
  }
}

/// A tiny model that Muon updates with gradients that are a function of step and name alone.
struct MuonModel {
  /// By name, whole parameters.
  typealias Weights = [String: [Float]]

  let units: ModelUnits
  let muon: Muon

  init(_ name: String, mesh: ProcessMesh) throws {
    let prepared = try PreparedModel(
      path: ReferenceModel(name: name).folder, computeDType: .float32, isTrained: true, mesh: mesh)
    units = prepared.units
    muon = Muon(units.all, options: Muon.Options())
  }

  func step(_ step: Int) throws {
    for block in units.groups {
      for unit in block.units { addGradients(unit, step: step) }
      try block.reduce(wire: .float32, isLast: true)
      try block.finishReduction()
    }
    for unit in units.all { try unit.finishReplicas() }
    try muon.step(learningRate: 0.02, gradientScale: 0.5)
  }

  /// All ranks take part: other experts are another rank's.
  func weights() throws -> Weights {
    var weights: Weights = [:]
    for slot in units.all.flatMap(\.slots) {
      let parameter = slot.parameter
      weights[parameter.name] = try units.assembled(
        parameter, elements: 0..<parameter.elementCount, dtype: .float32
      ).floats()
    }
    return weights
  }

  /// Gives each rank an equal share of the same gradient; ranks are powers of 2, so sums are exact.
  private func addGradients(_ unit: FlatUnit, step: Int) {
    unit.clearGradients()
    let ranks = Double(unit.group.size * unit.replicas.size)
    for slot in unit.slots {
      let parameter = slot.parameter
      let hash = parameter.name.utf8.reduce(UInt64(step)) { $0 &* 31 &+ UInt64($1) }
      var gradient =
        Tensor.randomNormal(
          parameter.shape, generator: Generator(seed: hash), dtype: .float32) * (0.01 / ranks)
      for (dim, range) in slot.slice.ranges.enumerated() {
        gradient = gradient.narrowed(dim: dim, start: range.lowerBound, length: range.count)
      }
      unit.accumulate(gradient, for: parameter)
    }
  }
}
