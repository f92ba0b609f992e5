import Testing
import XTunerData
import XTunerModels
import XTunerNN

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

@Suite struct StepCostModelTests {
  private func model(_ name: String) throws -> ModelConfiguration {
    try #require(ModelPreset.named(name)).configuration
  }

  @Test(arguments: ["Qwen3-30B-A3B", "Qwen3-235B-A22B", "Qwen3-0.6B"])
  func oneFullDocumentCostsWhatTheFormulaSays(name: String) throws {
    let model = try model(name)
    let length = 4096
    let cost = StepCost(model).cost(sequenceLengths: [length], lossTokens: length)
    let formula =
      Double(length) * model.facts.trainingOperationsPerToken(effectiveLength: Double(length))
    // The formula leaves out the diagonal: one pair of L/2 a token.
    #expect(abs(cost / formula - 1) < 1 / Double(length), "\(cost) against \(formula)")
  }

  @Test func publishedFiguresComeOut() throws {
    let cost = StepCost(try model("Qwen3-30B-A3B"))
    let perToken = cost.cost(sequenceLengths: [4096], lossTokens: 4096) / 4096
    #expect(abs(perToken / 23.1e9 - 1) < 0.005, "\(perToken)")
    let long = cost.cost(sequenceLengths: [32_768], lossTokens: 32_768) / 32_768
    #expect(abs(long / 56.9e9 - 1) < 0.005, "\(long)")
  }

  @Test func recomputingAllLayersAddsAThirdOfThem() throws {
    let model = try model("Qwen3-30B-A3B")
    let plain = StepCost(model)
    let recomputed = StepCost(model, recomputedLayerCount: model.layers.count)
    #expect(recomputed.headPerToken == plain.headPerToken)
    // The last norm is not run again.
    #expect(abs(recomputed.linearPerToken / plain.linearPerToken - 4.0 / 3) < 1e-5)
    #expect(recomputed.attention[0].perPair == plain.attention[0].perPair * 4 / 3)
    #expect(StepCost(model, recomputedLayerCount: 0) == plain)
  }

  @Test func layersOfOneWindowAreTakenTogether() throws {
    var model = try model("Qwen3-0.6B")
    for index in model.layers.indices where index % 4 != 3 {
      guard case .groupedQuery(var attention) = model.layers[index].attention else { continue }
      attention.window = 128
      model.layers[index].attention = .groupedQuery(attention)
    }
    let cost = StepCost(model)
    #expect(cost.attention.map(\.window) == [128, nil])
    #expect(cost.attention[0].perPair == 3 * cost.attention[1].perPair)
  }
}
