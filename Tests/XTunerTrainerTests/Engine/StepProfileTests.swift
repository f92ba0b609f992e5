import Testing
import Torch
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// What a step costs besides arithmetic, counted: a hidden copy or a new allocation shows here.
@Suite struct StepProfileTests {
  /// Profiles of `count` steps, behind two that are not measured.
  private func profiles(
    _ count: Int, forcedRouting: ForcedRouting? = nil
  ) throws -> [OperationProfile] {
    let configuration = ModelConfiguration.qwen3MoE(
      vocabularySize: 61, hiddenSize: 32, expertCount: 5, expertsPerToken: 2, expertSize: 16,
      layerCount: 3, headCount: 4, keyValueHeadCount: 2, headSize: 8)
    let prepared = PreparedModel(configuration, computeDType: .bfloat16, isTrained: true)
    prepared.units.initialize(seed: 3)
    var options = TrainingEngine.Options()
    options.forcedRouting = forcedRouting
    let engine = TrainingEngine(model: prepared.model, units: prepared.units, options: options)
    let optimizer = AdamW(prepared.units.all, options: AdamW.Options())
    func step(_ index: Int) throws {
      var batch = MicroBatch()
      let tokens = (0..<37).map { Int32(($0 * 17 + index * 7) % 61) }
      batch.append(tokens: tokens, labels: tokens, reduction: .token)
      _ = try engine.accumulateGradients([batch])
      optimizer.step(
        learningRate: 1e-3, gradientScale: min(1, 1 / (try GradientNorm(prepared.units).value)))
    }
    for index in 0..<2 { try step(index) }
    return try (2..<2 + count).map { index in
      try OperationProfile.record { try step(index) }.profile
    }
  }

  /// Routing by rule: an expert without rows has no products, and so fewer results.
  @Test func everySteadyStepTakesTheSameBlocksOfMemory() throws {
    let counts = try profiles(3, forcedRouting: .uniform).map(\.allocationCount)
    #expect(counts[0] > 0)
    #expect(Set(counts).count == 1, "\(counts)")
  }

  @Test func everySteadyStepCallsTheSameOperations() throws {
    let calls = try profiles(2, forcedRouting: .uniform).map { profile in
      Set(profile.operations.map { "\($0.name) \($0.callCount)" })
    }
    #expect(calls[0].symmetricDifference(calls[1]) == [])
  }

  /// The numbers are those of this model with three layers; a change of one is to be explained.
  ///
  /// Routing by rule here too: where an expert has no rows differs from processor to processor.
  @Test func copiesOfAStepAreThoseThatAreKnown() throws {
    let profile = try profiles(1, forcedRouting: .uniform)[0]
    let names = ["aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy"]
    let counts = names.map { profile.callCount($0) }
    #expect(counts == [34, 0, 31, 27])
  }
}
