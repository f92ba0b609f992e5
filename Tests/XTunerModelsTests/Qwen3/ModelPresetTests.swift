import Testing
import XTunerNN

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
    #expect(configuration.facts.parameterCount == published.total)
    #expect(configuration.facts.activeParameterCount == published.active ?? published.total)
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
    let names = WeightMap(configuration)
    #expect(
      names.parameters.reduce(0) { $0 + $1.elementCount } == configuration.facts.parameterCount)
    #expect(names.entries.reduce(0) { $0 + $1.elementCount } == configuration.facts.parameterCount)
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
    let work = configuration.facts.trainingOperationsPerToken(effectiveLength: length) / 1e9
    #expect((work * 10).rounded() / 10 == expected)
  }

  @Test func aWindowBoundsTheWork() {
    var configuration = ModelConfiguration.qwen3(
      vocabularySize: 7, hiddenSize: 3, intermediateSize: 5, layerCount: 2, headCount: 2,
      keyValueHeadCount: 1, headSize: 2, tiesEmbeddings: false)
    let full = configuration.facts.trainingOperationsPerToken(effectiveLength: 1000)
    #expect(full == Double(6 * configuration.facts.computedParameterCount) + 3 * 2 * 4 * 2 * 1000)
    guard case .groupedQuery(var attention) = configuration.layers[1].attention else { return }
    attention.window = 11
    configuration.layers[1].attention = .groupedQuery(attention)
    let windowed = configuration.facts.trainingOperationsPerToken(effectiveLength: 1000)
    #expect(full - windowed == 3 * 4 * 2 * Double(1000 - 22))
  }
}
