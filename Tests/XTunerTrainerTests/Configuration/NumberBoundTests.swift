import ConfigurationSupport
import Testing
import XTunerModels

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Every number of the option tables, found by their schemas.
@Suite struct NumberBoundTests {
  struct NumberOption: Sendable, CustomTestStringConvertible {
    let keyPath: String
    let schema: ConfigurationValue
    let bound: String?
    var testDescription: String { keyPath }

    /// The largest value, as it is written in a configuration.
    var largest: String? { (schema["maximum"] ?? schema["exclusiveMaximum"])?.flow }

    /// `--set` with a value.
    func override(_ value: String) -> String {
      guard let key = keyPath.split(separator: "/").dropFirst().first else {
        return keyPath == "optimizer.betas" ? "\(keyPath)=[\(value), 0.5]" : "\(keyPath)=\(value)"
      }
      return "\(keyPath.prefix { $0 != "/" })=[{path: a, \(key): \(value)}]"
    }
  }

  static let options: [NumberOption] =
    RunConfiguration.sections.flatMap { section in
      section.options.flatMap { option in
        let schema = section.jsonSchema["properties"]?[option.key]
        return numbers(schema ?? .null).map {
          NumberOption(
            keyPath: "\(section.name).\(option.key)", schema: $0, bound: option.bound)
        }
      }
    }
    + OptionDescription.all(of: DataOptions.Source.self).flatMap { option in
      let schema = DataOptions.Source.jsonSchema["properties"]?[option.key]
      return numbers(schema ?? .null).map {
        NumberOption(keyPath: "data.train/\(option.key)", schema: $0, bound: option.bound)
      }
    }

  /// The parts of a schema that are numbers; sections in lists are looked at by themselves.
  private static func numbers(_ schema: ConfigurationValue) -> [ConfigurationValue] {
    switch schema {
    case .mapping(let entries):
      let type = schema["type"]
      if type == .text("integer") || type == .text("number") { return [schema] }
      return entries.filter { $0.key != "properties" }.flatMap { numbers($0.value) }
    case .list(let items): return items.flatMap(numbers)
    default: return []
    }
  }

  @Test func thereAreManyNumbers() {
    #expect(Self.options.count > 35)
    #expect(Self.options.contains { $0.keyPath == "data.train/weight" })
    #expect(Self.options.contains { $0.keyPath == "optimizer.betas" })
    #expect(Self.options.contains { $0.keyPath == "training.recompute" })
  }

  @Test(arguments: options)
  func everyNumberHasAnUpperBoundAndAReason(option: NumberOption) throws {
    let largest = try #require(option.largest)
    // A share explains itself.
    if largest != "1" {
      let bound = try #require(option.bound)
      #expect(bound.hasPrefix("At most \(largest): ") && bound.hasSuffix("."))
    }
  }

  @Test(
    arguments: options.filter { !$0.keyPath.hasSuffix("seed") },
    ["4611686018427387904", "9.9e+300"])
  func largerNumbersAreRefusedByName(option: NumberOption, value: String) {
    let text = problems(minimalYAML, [option.override(value)])
    let name = option.keyPath.replacing("/", with: "[0].")
    #expect(text.contains("\(name): must be "), "\(text)")
    #expect(text.contains("is \(value)"), "\(text)")
  }

  @Test func moreDigitsThan64BitsHoldAreTooMany() {
    for value in ["9223372036854775808", "100000000000000000000", "+10_000_000_000_000_000_000"] {
      let text = problems(minimalYAML, ["training.steps=\(value)"])
      #expect(text.contains("training.steps: must be at most 99999999 ("), "\(text)")
    }
  }

  @Test func theSeedTakesAllNumbersOf63Bits() throws {
    #expect(try load(minimalYAML, ["run.seed=9223372036854775807"]).run.seed == Int.max)
    #expect(problems(minimalYAML, ["run.seed=9223372036854775808"]).contains("run.seed: must be"))
  }

  /// What a run computes from numbers before it starts.
  @Test(arguments: options)
  func theLargestNumberOverflowsNothing(option: NumberOption) throws {
    let largest = try #require(option.largest)
    let configuration: RunConfiguration
    do {
      configuration = try load(minimalYAML, [option.override(largest)])
    } catch {
      // With others as they are it may be impossible, but it is not too large.
      #expect(!"\(error)".contains("must be at most \(largest)"), "\(error)")
      return
    }
    let again = try RunConfiguration.parse(configuration.yaml(), file: "run.yaml")
    #expect(again == configuration)
    let schedule = LearningRateSchedule(
      configuration.schedule, optimizer: configuration.optimizer,
      stepCount: configuration.training.steps ?? 7)
    #expect(schedule.learningRate(step: 1).isFinite)
    let model = try #require(ModelPreset.named("qwen3-30b-a3b")).configuration
    _ = try? configuration.parallelLayout(worldSize: 2, model: model)
  }
}
