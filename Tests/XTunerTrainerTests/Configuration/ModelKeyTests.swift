import Foundation
import Testing
import XTunerMoE
import XTunerModels

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// Keys of a model that a person writes: used, or refused where they stand.
@Suite struct ModelKeyTests {
  private func load(_ model: String, _ rest: String = "") throws -> RunConfiguration {
    try RunConfiguration.parse(
      """
      model:
        \(model)
      tokenizer: {path: nowhere}
      data: {train: a.jsonl}
      training: {steps: 3}
      \(rest)
      """, file: "run.yaml")
  }

  private func refusal(_ model: String, _ rest: String = "") -> String {
    let error = #expect(throws: ConfigurationError.self) {
      _ = try load(model, rest).modelConfiguration()
    }
    return error?.description ?? ""
  }

  /// A configuration is read without libtorch, so its list of keys stands beside the families' own.
  @Test func theListOfKeysIsThatOfTheFamilies() {
    #expect(RunConfiguration.modelKeys == ModelConfiguration.knownKeys)
  }

  @Test func misspeltKeysHaveALineAndASuggestion() {
    #expect(
      refusal("preset: qwen3-0.6b\n  overrides:\n    num_hidden_layers: 2\n    hidden_sise: 64")
        == """
        run.yaml:5: model.overrides.hidden_sise: is no key of config.json that has an effect here; \
        did you mean hidden_size?
        """)
    #expect(
      refusal("architecture:\n    model_type: qwen3\n    vocab_sise: 97").hasPrefix(
        "run.yaml:4: model.architecture.vocab_sise: is no key of config.json"))
  }

  @Test func keysOfExpertsAreRefusedOnADenseModel() throws {
    let message = refusal("preset: qwen3-0.6b\n  overrides:\n    num_experts: 8")
    #expect(
      message.hasPrefix(
        "run.yaml:4: model.overrides.num_experts: has no meaning for model_type qwen3;"))
    let mixture = try load("preset: qwen3-30b-a3b\n  overrides: {num_experts: 64}")
    #expect(
      try mixture.modelConfiguration().layers[0].feedForward.mixture?.router.expertCount == 64)
  }

  @Test func lossesOfRoutersAreRefusedOnADenseModel() throws {
    let message = refusal(
      "preset: qwen3-0.6b", "loss:\n  balance_loss: 0.02\n  router_z_loss: 0.01")
    #expect(
      message.split(separator: "\n").map { $0.prefix { $0 != "," } } == [
        "run.yaml:7: loss.balance_loss: has no effect",
        "run.yaml:8: loss.router_z_loss: has no effect",
      ])
    // What a resolved configuration of a dense model has in it.
    _ = try load("preset: qwen3-0.6b", "loss: {balance_loss: 0.001, router_z_loss: 0}")
      .modelConfiguration()
  }

  @Test func anotherSpellingReplacesTheFirst() throws {
    let model = try load(
      """
      preset: qwen3-30b-a3b
        overrides:
          num_local_experts: 64
          dtype: float32
          rope_parameters: {rope_type: linear, factor: 2.0, rope_theta: 5003}
      """
    ).modelConfiguration()
    #expect(model.layers[0].feedForward.mixture?.router.expertCount == 64)
    #expect(model.weightType == "float32")
    #expect(model.rotary.base == 5003 && model.rotary.scaling == .linear(factor: 2))
  }

  @Test func theModelsCoefficientIsSaidToBeRuled() throws {
    let described = try load("preset: qwen3-30b-a3b\n  overrides: {router_aux_loss_coef: 0.5}")
      .describedModel()
    #expect(described.notes == [])
    #expect(described.details.count == 1)
    #expect(described.details[0].hasPrefix("router_aux_loss_coef 0.5 of config.json is kept"))
    #expect(described.details[0].hasSuffix("loss.balance_loss 0.001 rules"))
  }
}
