import Testing

@testable import XTunerModels

struct PublishedCount: Sendable, CustomTestStringConvertible {
  var name: String
  var total: Int
  var active: Int?
  var testDescription: String { name }
}

@Suite struct ModelPresetTests {
  /// Published sizes.
  static let counts = [
    PublishedCount(name: "Qwen3-0.6B", total: 596_049_920),
    PublishedCount(name: "Qwen3-1.7B", total: 1_720_574_976),
    PublishedCount(name: "Qwen3-4B", total: 4_022_468_096),
    PublishedCount(name: "Qwen3-4B-Instruct-2507", total: 4_022_468_096),
    PublishedCount(name: "Qwen3-8B", total: 8_190_735_360),
    PublishedCount(name: "Qwen3-14B", total: 14_768_307_200),
    PublishedCount(name: "Qwen3-32B", total: 32_762_123_264),
    PublishedCount(name: "Qwen3-30B-A3B", total: 30_532_122_624, active: 3_353_032_704),
    PublishedCount(name: "Qwen3-235B-A22B", total: 235_093_634_560, active: 22_190_763_520),
  ]

  @Test(arguments: counts)
  func hasThePublishedParameterCount(published: PublishedCount) throws {
    let configuration = try #require(ModelPreset.named(published.name)).configuration
    #expect(configuration.parameterCount == published.total)
    #expect(configuration.activeParameterCount == published.active ?? published.total)
  }

  @Test(arguments: ModelPreset.all.map(\.name))
  func isConsistentAndSurvivesItsFile(name: String) throws {
    let preset = try #require(ModelPreset.named(name.uppercased()))
    let text = try preset.configuration.configurationText()
    var read = try ModelConfiguration(parsing: Array(text.utf8), file: "config.json")
    #expect(read.source != nil)
    read.source = nil
    #expect(read == preset.configuration)
    #expect(try read.configurationText() == text)
  }

  @Test(arguments: ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B", "Qwen3-235B-A22B"])
  func namesTileEveryParameter(name: String) throws {
    let configuration = try #require(ModelPreset.named(name)).configuration
    let names = HFTensorNames(configuration)
    #expect(names.parameters.reduce(0) { $0 + $1.elementCount } == configuration.parameterCount)
    #expect(names.entries.reduce(0) { $0 + $1.elementCount } == configuration.parameterCount)
    #expect(Set(names.entries.map(\.name)).count == names.entries.count)
  }

  @Test func variantsDifferAsPublished() throws {
    let base = try #require(ModelPreset.named("qwen3-30b-a3b-base")).configuration
    #expect(base.endTokenIDs == [151_643] && base.maximumPositionCount == 32768)
    let long = try #require(ModelPreset.named("Qwen3-30B-A3B-Instruct-2507")).configuration
    #expect(long.rotary.base == 1e7 && long.maximumPositionCount == 262_144)
    let large = try #require(ModelPreset.named("Qwen3-235B-A22B-Thinking-2507")).configuration
    #expect(large.rotary.base == 5e6)
    #expect(ModelPreset.named("Qwen3-7B") == nil)
    #expect(Set(ModelPreset.all.map(\.name)).count == ModelPreset.all.count)
  }

  @Test(arguments: [
    ("Qwen3-235B-A22B", 4096.0, 148.3), ("Qwen3-235B-A22B", 131_072, 735.0),
    ("Qwen3-30B-A3B", 4096, 23.1), ("Qwen3-30B-A3B", 32768, 56.9), ("Qwen3-30B-A3B", 65536, 95.6),
  ])
  func countsPublishedWork(name: String, length: Double, expected: Double) throws {
    let configuration = try #require(ModelPreset.named(name)).configuration
    let work = configuration.trainingOperationsPerToken(effectiveLength: length) / 1e9
    #expect((work * 10).rounded() / 10 == expected)
  }

  @Test func aWindowBoundsTheWork() {
    var configuration = ModelConfiguration.qwen3(
      vocabularySize: 7, hiddenSize: 3, intermediateSize: 5, layerCount: 2, headCount: 2,
      keyValueHeadCount: 1, headSize: 2, tiesEmbeddings: false)
    let full = configuration.trainingOperationsPerToken(effectiveLength: 1000)
    #expect(full == Double(6 * configuration.computedParameterCount) + 3 * 2 * 4 * 2 * 1000)
    guard case .groupedQuery(var attention) = configuration.layers[1].attention else { return }
    attention.slidingWindow = 11
    configuration.layers[1].attention = .groupedQuery(attention)
    let windowed = configuration.trainingOperationsPerToken(effectiveLength: 1000)
    #expect(full - windowed == 3 * 4 * 2 * Double(1000 - 22))
  }
}

/// Families that cannot be built yet, whose sizes the types must already hold.
@Suite struct WiderArchitectureTests {
  private func deepSeek(
    heads: Int, vocabulary: Int, experts: Int, denseCount: Int, yarnFactor: Double
  ) -> ModelConfiguration {
    let attention = AttentionConfiguration.latent(
      LatentAttention(
        headCount: heads, queryRank: 1536, keyValueRank: 512, unrotatedHeadSize: 128,
        rotatedHeadSize: 64, valueHeadSize: 128))
    let mixture = MixtureConfiguration(
      expertCount: experts, expertsPerToken: 8, expertSize: 2048, sharedExpertSize: 2048,
      router: RouterConfiguration(
        scoring: .sigmoid, normalizesWeights: true, hasSelectionBias: true))
    let layers = (0..<61).map {
      DecoderLayerConfiguration(
        attention: attention,
        feedForward: $0 < denseCount ? .dense(intermediateSize: 18432) : .mixture(mixture))
    }
    return ModelConfiguration(
      family: .qwen3MoE, vocabularySize: vocabulary, hiddenSize: 7168, intermediateSize: 18432,
      layers: layers,
      rotary: RotaryConfiguration(
        base: 10000, rotatedSize: 64, isInterleaved: true,
        scaling: .yarn(
          YaRNScaling(
            factor: yarnFactor, originalPositionCount: 4096, magnitudeScale: 1,
            magnitudeScaleAllDimensions: 1))),
      normEpsilon: 1e-6, tiesEmbeddings: false, maximumPositionCount: 163_840)
  }

  @Test func countsLatentAttentionModels() {
    let v3 = deepSeek(
      heads: 128, vocabulary: 129_280, experts: 256, denseCount: 3, yarnFactor: 40)
    #expect(v3.parameterCount == 671_026_404_352)
    #expect(v3.activeParameterCount == 37_552_282_624)
    #expect(v3.computedParameterCount == 36_625_603_584)
    let work = v3.trainingOperationsPerToken(effectiveLength: 4096) / 1e9
    #expect(abs(work - 250.4) < 0.1)
    let k2 = deepSeek(heads: 64, vocabulary: 163_840, experts: 384, denseCount: 1, yarnFactor: 32)
    #expect(k2.parameterCount == 1_026_408_209_408)
    #expect(k2.activeParameterCount == 32_861_477_888)
  }

  @Test(arguments: [
    (40.0, 0.1352337788608801), (32, 0.13086079996295005), (64, 0.14467962580268923),
  ])
  func scalesLatentAttention(factor: Double, expected: Double) throws {
    let model = deepSeek(heads: 2, vocabulary: 2, experts: 8, denseCount: 0, yarnFactor: factor)
    guard case .latent(let attention) = model.layers[0].attention else { return }
    #expect(abs(attention.softmaxScale(rotary: model.rotary) - expected) < 1e-15)
  }

  @Test(arguments: [
    (24, 32, 20_914_757_184, 4_187_440_704), (36, 128, 116_829_156_672, 5_711_982_912),
  ])
  func countsModelsWithSinksAndBiases(layers: Int, experts: Int, total: Int, active: Int) {
    let layer = DecoderLayerConfiguration(
      attention: .groupedQuery(
        GroupedQueryAttention(
          headCount: 64, keyValueHeadCount: 8, headSize: 64, normalizesQueryAndKey: false,
          hasInputBias: true, hasOutputBias: true, hasSinks: true, slidingWindow: 128)),
      feedForward: .mixture(
        MixtureConfiguration(
          expertCount: experts, expertsPerToken: 4, expertSize: 2880, hasExpertBias: true,
          router: RouterConfiguration(
            scoring: .softmaxAfterTopK, normalizesWeights: true, hasBias: true))))
    let configuration = ModelConfiguration(
      family: .qwen3MoE, vocabularySize: 201_088, hiddenSize: 2880, intermediateSize: 2880,
      layers: Array(repeating: layer, count: layers),
      rotary: RotaryConfiguration(base: 150_000, rotatedSize: 64), normEpsilon: 1e-5,
      tiesEmbeddings: false, maximumPositionCount: 131_072)
    #expect(configuration.parameterCount == total)
    #expect(configuration.activeParameterCount == active)
  }

  @Test func refusesToCallThemQwen3() {
    let model = deepSeek(heads: 2, vocabulary: 7, experts: 8, denseCount: 1, yarnFactor: 32)
    #expect(throws: ModelConfigurationError.self) { try model.validate() }
    #expect(throws: ModelConfigurationError.self) { try model.configurationText() }
  }
}
