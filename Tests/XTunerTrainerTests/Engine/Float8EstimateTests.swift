import Testing
import Torch
import XTunerModels
import XTunerNN

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// What products of float8 take for a moment, in thought.
///
/// Emulated ones are compared with runs by `DistributedMemoryTests`, native ones only with what their
/// operators allocate.
@Suite struct Float8EstimateTests {
  /// 256 rows, 384 outputs, 512 inputs: 4 and 3 tiles a row, 12 blocks.
  private func products(
    _ products: Float8Products, experts: Int = 1, isQuantized: Bool = false, hasRows: Bool = false
  ) -> ImaginedProducts {
    ImaginedProducts(
      .init(
        R: 256, N: 384, K: 512, E: experts, isGrouped: experts > 1, isQuantized: isQuantized,
        hasRows: hasRows),
      products)
  }

  @Test func nativeProductsTakeOperandsScalesAndATransposedWeight() {
    let (rows, weight) = (256 * 512 + 4 * 256 * 4, 384 * 512 + 4 * 12)
    let native = products(.native)
    let result = 2 * 256 * 384
    #expect(native.forward == rows + weight + 4 * 256 * 4 + result)
    #expect(
      native.inputGradient
        == 2 * 256 * 384 + 4 * (256 * 3 + 384 * 2) + weight + 4 * 256 * 3 + weight + 2 * 256 * 512
    )
    #expect(
      native.weightGradient == (384 + 512) * 256 + 4 * (384 + 512) * 2 + 2 * 384 * 512)
    let given = products(.native, isQuantized: true, hasRows: true)
    #expect(given.forward == 4 * 256 * 4 + result)
    #expect(given.inputGradient == native.inputGradient - weight)
    // Each group may have a tile that is not full.
    let experts = products(.native, experts: 8)
    #expect(experts.forward == rows + 8 * weight + 4 * 256 * 4 + result)
    #expect(
      experts.weightGradient
        == (384 + 512) * 1152 + 4 * (384 + 512) * 9 + 8 * 2 * 384 * 512)
  }

  @Test func emulatedProductsTakeFloatsBesides() {
    for (isQuantized, hasRows) in [(false, false), (true, true)] {
      let native = products(.native, isQuantized: isQuantized, hasRows: hasRows)
      let emulated = products(.emulated, isQuantized: isQuantized, hasRows: hasRows)
      let floats = 4 * (256 * 512 + 384 * 512 + 256 * 384)
      #expect(emulated.forward == native.forward - 4 * 256 * 4 - 2 * 256 * 384 + floats)
      #expect(
        emulated.weightGradient
          == native.weightGradient - 2 * 384 * 512 + 4 * (256 * (384 + 512) + 384 * 512))
    }
  }

  /// A step's peak: native products never take more than emulated ones.
  @Test func aStepKnowsWhoMultiplies() throws {
    var model = try #require(ModelPreset.named("Qwen3-30B-A3B")).configuration
    model.layers = Array(model.layers.prefix(2))
    var setting = MemoryEstimate.Setting(model: model, tokenCount: 256)
    setting.float8Modules = Set(Float8Module.standard)
    let emulated = MemoryEstimate(setting)
    setting.float8Products = .native
    let native = MemoryEstimate(setting)
    #expect(native.resting.total == emulated.resting.total)
    #expect(native.peak.total < emulated.peak.total)
  }
}
