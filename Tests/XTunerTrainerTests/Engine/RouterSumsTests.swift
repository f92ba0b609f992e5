import Testing
import Torch
import XTunerModels
import XTunerMoE
import XTunerNN

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

@Suite struct RouterSumsTests {
  @Test(arguments: [(0.0, 0.0), (0.01, 0), (0, 0.001), (0.01, 0.001)])
  func layerMakesOnlySumsThatALossReads(balance: Double, z: Double) throws {
    let prepared = PreparedModel(
      .qwen3MoE(
        vocabularySize: 31, hiddenSize: 24, expertCount: 5, expertsPerToken: 2, expertSize: 16,
        layerCount: 1, headCount: 2, keyValueHeadCount: 1, headSize: 8, ropeBase: 10_000),
      computeDType: .float32, isTrained: false)
    prepared.initialize(seed: 1)
    let context = prepared.model.makeContexts(ModelInput(bounds: [0, 7]))[0]
    #expect(context.wantedSums.isEmpty)
    context.wantedSums = RouterLossWeights(balance: balance, z: z).sums
    let route = try #require(prepared.model.blocks[0].stages.first { $0.name == .route })
    let generator = Generator(seed: 2)
    let outputs = route.run(
      [
        Tensor.randomNormal([7, 24], generator: generator),
        Tensor.randomNormal([7, 2, 8], generator: generator),
      ], context, BlockRecord())
    #expect(outputs.map { $0 != nil } == [true, true, true, balance > 0, z > 0])
    #expect(outputs.count == route.outputs.count)
    if balance > 0 { #expect(abs((outputs[3]?.sum().item() ?? 0) - 7) < 1e-5) }
    if z > 0 { #expect((outputs[4]?.item() ?? 0) > 0) }
  }
}
