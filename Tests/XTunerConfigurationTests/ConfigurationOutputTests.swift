import ConfigurationSupport
import Foundation
import XTunerRun
import Testing

@testable import XTunerConfiguration

@Suite struct ConfigurationOutputTests {
  /// A configuration whose texts are all awkward to write.
  static let awkward = """
    run: {name: "no", directory: "1:30", seed: 3}
    model:
      architecture:
        rope_scaling:
          b: [1, 2.5, -3e-7, null, "true", true]
          "": x
          "y: z": [{c: 1, d: [2]}, {}]
          e: []
          "null": "~"
      dtype: f32
    tokenizer: {path: "tab\\tquote\\" # not a comment \\u2028 é"}
    data: {train: [{path: a b, weight: 1e-9}], validation_split: 0.1, template: "- x"}
    training: {epochs: 2, recompute: 0.25, skip_threshold: 5}
    schedule: {name: wsd, decay_ratio: 0.2}

    """

  @Test(arguments: [false, true])
  func resolvedYAMLLoadsToTheSameConfiguration(commented: Bool) throws {
    for text in [minimalYAML, Self.awkward] {
      let configuration = try load(text)
      let written = configuration.yaml(commented: commented)
      let again = try RunConfiguration.parse(written, file: "other.yaml")
      #expect(again == configuration)
      #expect(again.hash == configuration.hash)
      #expect(again.yaml(commented: commented) == written)
    }
  }

  @Test func showListsEveryOptionWithMeaningTypeAndDefault() throws {
    let shown = try load(minimalYAML).yaml(commented: true)
    #expect(
      shown.contains(
        """
          # Gradients with a larger norm are scaled down to it; null never clips.
          # Type: number above 0, at most 1.0e+18, or null. Default: 1.0.
          max_gradient_norm: 1.0

        """))
    #expect(shown.contains("  # Type: one of load, random, or null. Default: load with model.path"))
    for section in RunConfiguration.sections {
      for option in section.options {
        #expect(shown.contains("\n  \(option.key):"), "\(section.name).\(option.key)")
        #expect(option.meaning.hasSuffix("."), "\(section.name).\(option.key)")
      }
    }
    #expect(shown.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test func schemaDescribesEveryOptionAndIsJSON() throws {
    let text = ConfigurationReference.jsonSchema()
    let object = try JSONSerialization.jsonObject(with: Data(text.utf8))
    let schema = try #require(object as? [String: Any])
    #expect(schema["$schema"] as? String == "https://json-schema.org/draft/2020-12/schema")
    let sections = try #require(schema["properties"] as? [String: [String: Any]])
    for section in RunConfiguration.sections {
      let options = try #require(sections[section.name]?["properties"] as? [String: Any])
      #expect(Set(options.keys) == Set(section.keys))
      #expect(sections[section.name]?["additionalProperties"] as? Bool == false)
    }
  }

  @Test func referencePageHasEveryOptionOnce() {
    let page = ConfigurationReference.markdown()
    for section in RunConfiguration.sections {
      #expect(page.contains("\n## \(section.name)\n"))
    }
    #expect(
      page.contains(
        """
        | `packs_per_step` | whole number from 1 to 1000000 | `8` | Packs of one optimizer step \
        (the global batch): at most packs_per_step x data.sequence_length tokens. At most 1000000: \
        their tokens are counted and held together. |

        """))
    #expect(page.contains("| `path` | path | none, must be given | File, folder or glob;"))
    #expect(!page.contains("<|endoftext|>"))
  }

  @Test func exampleOfTheReferenceLoads() throws {
    #expect(try load(ConfigurationReference.example).training.epochs == 2)
  }

  @Test func hashDependsOnValuesOnly() throws {
    let plain = try load(minimalYAML)
    let other = try load("# comment\n" + minimalYAML + "run: {seed: 0}\n")
    #expect(plain.hash == other.hash)
    #expect(plain.hash.count == 64)
    #expect(try load(minimalYAML, ["run.seed=1"]).hash != plain.hash)
  }

  @Test func listsDifferences() throws {
    let old = try load(minimalYAML)
    let new = try load(minimalYAML, ["data.train=[b]", "checkpoint.keep=5", "run.seed=0"])
    #expect(
      new.differences(from: old) == [
        .init(
          keyPath: "data.train",
          old: "[{path: a.jsonl, name: a, format: auto, weight: 1.0}]",
          new: "[{path: b, name: b, format: auto, weight: 1.0}]"),
        .init(keyPath: "checkpoint.keep", old: "3", new: "5"),
      ])
  }
}
