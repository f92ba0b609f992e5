import Foundation
import Torch
import XTunerTrainer
import XTunerCommands
import XTunerConfiguration
import XTunerEngine
import XTunerLaunch
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerRun
import XTunerTokenizers

extension BenchStepCommand {
  /// The model: sizes that were given, else the preset's, else those of the other engines' scripts.
  func modelConfiguration() throws -> ModelConfiguration {
    let base = try preset.map(Self.configuration(ofPreset:))
    var attention = GroupedQueryAttention.Options(
      headCount: 8, keyValueHeadCount: 2, headSize: 64, normalizesQueryAndKey: true)
    if case .groupedQuery(let found) = base?.layers[0].attention { attention = found }
    let (heads, keyValueHeads) = (
      headCount ?? attention.headCount, keyValueHeadCount ?? attention.keyValueHeadCount
    )
    let vocabulary = vocabularySize ?? base?.vocabularySize ?? 32768
    let (hidden, layers) = (
      hiddenSize ?? base?.hiddenSize ?? 512, layerCount ?? base?.layers.count ?? 8
    )
    let headSize = headDimension ?? attention.headSize
    let ropeBase = base?.rotary.base ?? 10_000
    let mixture = base?.layers[0].feedForward.mixture
    let configuration: ModelConfiguration
    if let width = denseSize ?? (mixture == nil ? base?.intermediateSize : nil) {
      configuration = .qwen3(
        vocabularySize: vocabulary, hiddenSize: hidden, intermediateSize: width,
        layerCount: layers, headCount: heads, keyValueHeadCount: keyValueHeads,
        headSize: headSize, ropeBase: ropeBase, tiesEmbeddings: base?.tiesEmbeddings ?? false)
    } else {
      configuration = .qwen3MoE(
        vocabularySize: vocabulary, hiddenSize: hidden,
        expertCount: expertCount ?? mixture?.router.expertCount ?? 32,
        expertsPerToken: expertsPerToken ?? mixture?.router.expertsPerToken ?? 4,
        expertSize: expertSize ?? mixture?.expertSize ?? 256, layerCount: layers,
        headCount: heads, keyValueHeadCount: keyValueHeads, headSize: headSize,
        ropeBase: ropeBase)
    }
    try configuration.validate(file: "bench step")
    try checkExpertOptions(configuration)
    return configuration
  }

  /// The run that these steps are out of: what training checks and refuses is checked here too.
  ///
  /// Data and tokenizer are names that nothing reads. The other engines' programs have no loss but that
  /// of tokens, so the others are 0 unless they are asked for.
  func runConfiguration(_ model: ModelConfiguration) throws -> RunConfiguration {
    let text = """
      {"run": {"device": "\(device.rawValue)"}, "tokenizer": {"path": "none"},
       "model": {"dtype": "\(dtype.rawValue)", "architecture": \(try model.configurationText())},
       "data": {"train": "none"}, "training": {"steps": 1, "packs_per_step": 1},
       "optimizer": {"state": "\(state.rawValue)"},
       "loss": {"balance_loss": 0, "router_z_loss": 0, "z_loss": 0}}
      """
    let configuration = try RunConfiguration.parse(
      text, file: "bench step", overrides: overrides)
    _ = try configuration.modelConfiguration()
    return configuration
  }

  /// The device of `--device`, which becomes the current one.
  func usableDevice(_ configuration: RunConfiguration) throws -> Device {
    do throws(ConfigurationError) {
      return try configuration.device(localRank: 0)
    } catch {
      let reasons = error.problems.map { problem in
        problem.keyPath == "run.device"
          ? "--device \(problem.reason)" : "\(problem.keyPath): \(problem.reason)"
      }
      throw CommandFailure(error.exitCode, reasons.joined(separator: "\n"))
    }
  }

  /// How the engine runs.
  func engineOptions(
    _ configuration: RunConfiguration, layerCount: Int
  ) -> TrainingEngine.Options {
    var options = TrainingEngine.Options(configuration, layerCount: layerCount)
    options.forbidsWaits = forbidsWaits
    if let recompute { options.recomputedLayerCount = recompute }
    options.forcedRouting = forcedRouting.map { rule in
      switch rule {
      case .uniform: .uniform
      case .random: .random
      }
    }
    return options
  }

  private static func configuration(ofPreset name: String) throws -> ModelConfiguration {
    guard let preset = ModelPreset.named(name) else {
      let names = ModelPreset.all.map(\.name).joined(separator: ", ")
      throw CommandFailure(.usage, "--preset must be one of \(names), is \(name)")
    }
    return preset.configuration
  }

  /// Refuses options of experts where the preset has none, which would change nothing.
  private func checkExpertOptions(_ configuration: ModelConfiguration) throws {
    guard configuration.layers[0].feedForward.mixture == nil, preset != nil else { return }
    let given = [
      ("--experts", expertCount != nil), ("--experts-per-token", expertsPerToken != nil),
      ("--expert-size", expertSize != nil), ("--forced-routing", forcedRouting != nil),
    ].filter(\.1)
    guard let option = given.first?.0 else { return }
    throw CommandFailure(
      .usage, "\(option): \(preset ?? "") has no experts; leave it out or take another --preset")
  }
}
