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

/// Matrices that travel as float8: the numbers of gathered bfloat16 that is quantised afterwards, bit for
/// bit, and half the bytes.
@Suite(.serialized) struct Float8GatherTests {
  /// A layout with what decides when weights are gathered and read.
  struct Case: Sendable, CustomTestStringConvertible {
    var layout: ParallelLayout
    var isMixture = true
    var modules = Float8TrainingTests.standard
    var interleave = 1
    var isRecomputed = false
    var reshard = Schedule.Reshard.afterForward

    var testDescription: String {
      """
      \(isMixture ? "mixture" : "dense"), \(layout.worldSize) ranks, replicate \(layout.replicate), \
      expert \(layout.expert) x \(layout.expertTensor), sequence \(layout.sequence), interleave \
      \(interleave)\(isRecomputed ? ", recomputed" : ""), reshard \(reshard.rawValue)
      """
    }

    var options: TrainingEngine.Options {
      var options = TrainingEngine.Options()
      options.interleave = interleave
      options.recomputedLayerCount = isRecomputed ? 2 : 0
      options.reshard = reshard
      return options
    }
  }

  static let cases = [
    Case(layout: ParallelLayout(worldSize: 2)),
    Case(layout: ParallelLayout(worldSize: 2), isMixture: false, isRecomputed: true),
    // The head is in the unit of the final norm, and is not differentiated by libtorch.
    Case(
      layout: ParallelLayout(worldSize: 2), isMixture: false,
      modules: Set(Float8Module.allCases).subtracting([.experts, .sharedExpert])),
    Case(layout: ParallelLayout(worldSize: 2), modules: [.experts], interleave: 2),
    Case(
      layout: ParallelLayout(worldSize: 4), interleave: 2, isRecomputed: true),
    Case(layout: ParallelLayout(worldSize: 4, replicate: 2), reshard: .never),
    Case(layout: ParallelLayout(worldSize: 4, expert: 2), interleave: 2, isRecomputed: true),
    Case(layout: ParallelLayout(worldSize: 4, expert: 2, expertTensor: 2)),
    Case(layout: ParallelLayout(worldSize: 4, expert: 2, sequence: 2), isRecomputed: true),
  ]

  private static func curves(_ testCase: Case, gathersFloat8: Bool) throws -> [Curve] {
    let model = Float8TrainingTests.models[testCase.isMixture ? 1 : 0]
    return try runMesh(testCase.layout) { mesh in
      try Float8TrainingTests().train(
        model, float8: testCase.modules, steps: 3, mesh: mesh, options: testCase.options,
        gathersFloat8: gathersFloat8, parts: 8)
    }
  }

  @Test(arguments: cases)
  func numbersAreThoseOfQuantisingWhatWasGathered(_ testCase: Case) throws {
    let expected = try Self.curves(testCase, gathersFloat8: false)
    let curves = try Self.curves(testCase, gathersFloat8: true)
    for (rank, curve) in curves.enumerated() {
      #expect(curve == expected[0], "rank \(rank)")
    }
  }

  /// Each unit is gathered once a step where weights stay together: bytes are those of its elements.
  @Test func halfTheBytesTravel() throws {
    let model = Float8TrainingTests.models[1]
    for gathersFloat8 in [false, true] {
      let counts = try runMesh(ParallelLayout(worldSize: 2)) { mesh in
        let prepared = PreparedModel(
          try model.configuration(), computeDType: .bfloat16, isTrained: true,
          float8: Float8TrainingTests.standard, gathersFloat8: gathersFloat8, mesh: mesh)
        prepared.initialize(seed: 7)
        var options = TrainingEngine.Options()
        options.reshard = .never
        let engine = TrainingEngine(
          model: prepared.model, units: prepared.units, options: options)
        var batch = MicroBatch()
        batch.append(tokens: [1, 2, 3, 4], labels: [1, 2, 3, 4], reduction: .token)
        _ = try engine.accumulateGradients([batch, batch])
        let units = prepared.units.all
        #expect(
          units.prefix(6).map(\.name) == [
            "embedding", "layers.0", "layers.0.float8", "layers.0.float32",
            "layers.0.experts.float8", "layers.1",
          ])
        let expected = units.reduce(0) { sum, unit in
          let isFloat8 = unit.name.hasSuffix(".float8") && gathersFloat8
          return sum + unit.elementCount * (isFloat8 ? 1 : unit.computeDType.size)
        }
        // Queries, keys, values and output; gate, up and down of eight experts.
        #expect(units[2].elementCount == (192 + 96 + 96 + 192) * 256)
        #expect(units[4].elementCount == 8 * 3 * 96 * 256)
        return (mesh.shard.gatheredByteCount + mesh.expertShard.gatheredByteCount, expected)
      }
      for (counted, expected) in counts { #expect(counted == expected) }
    }
  }

  /// The master weights are float32 and what travels is made of them anew, so that an element that
  /// is not a number reaches the loss on every rank.
  @Test func aNaNOnOneRankReachesAll() throws {
    let model = Float8TrainingTests.models[0]
    let losses = try runMesh(ParallelLayout(worldSize: 2)) { mesh in
      let prepared = PreparedModel(
        try model.configuration(), computeDType: .bfloat16, isTrained: true,
        float8: Float8TrainingTests.standard, mesh: mesh)
      prepared.initialize(seed: 7)
      let engine = TrainingEngine(model: prepared.model, units: prepared.units)
      var batch = MicroBatch()
      batch.append(tokens: [1, 2, 3, 4], labels: [1, 2, 3, 4], reduction: .token)
      let first = try engine.accumulateGradients([batch]).loss
      if mesh.rank == 1 {
        let unit = try #require(prepared.units.all.first { $0.name == "layers.1.float8" })
        withoutGradients {
          unit.weights.narrowed(dim: 0, start: 5, length: 1).fill(.real(.nan))
        }
      }
      prepared.units.publish()
      return [first, try engine.accumulateGradients([batch]).loss]
    }
    for own in losses { #expect(own[0].isFinite && own[1].isNaN) }
  }
}
