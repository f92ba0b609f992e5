import Foundation
public import XTunerCheckpoint
public import XTunerConfiguration
import XTunerEngine
public import XTunerModels

/// The model of a run, with what people should know about how it came to be.
public struct DescribedModel: Sendable {
  /// The architecture.
  public var configuration: ModelConfiguration
  /// Sentences for people: unknown keys, an untied head, a vocabulary that follows the tokenizer.
  public var notes: [String] = []
  /// Sentences for the log alone: what was read and is ruled by another option.
  public var details: [String] = []
}

extension RunConfiguration {
  /// The architecture that `model` describes, with `model.overrides` applied.
  ///
  /// - Throws: `ConfigurationError` for an unknown preset, `ModelConfigurationError` otherwise.
  ///
  /// Whether float8 is possible with it is checked too.
  public func modelConfiguration() throws -> ModelConfiguration {
    try describedModel().configuration
  }

  /// The architecture that `model` describes, for a new run or for one that goes on from `checkpoint`.
  ///
  /// With random weights, vocabulary, begin and end token that the configuration does not name follow a
  /// tokenizer that is not the model's own. A head that `config.json` ties is untied where the weights
  /// to be loaded have another one. Runs of before either was so keep what their checkpoint has.
  public func describedModel(startingAt checkpoint: RunCheckpoint? = nil) throws -> DescribedModel {
    var described = try architecture(startingAt: checkpoint)
    if let path = model.path, model.weights == .load, model.overrides?[Self.tieKey] == nil,
      described.configuration.tiesEmbeddings
    {
      if let checkpoint {
        let count = UnitFiles.elementCount(of: "head.weight", in: checkpoint)
        described.configuration.tiesEmbeddings = count == 0
      } else if HFCheckpointFolder.hasWeights(at: path) {
        described.configuration = try HFCheckpointFolder(path: path)
          .untying(described.configuration)
      }
    }
    try checkFloat8(described.configuration)
    try checkMixtureOptions(described.configuration)
    described.notes = described.configuration.notes + described.notes
    described.details += balanceDetail(described.configuration)
    return described
  }

  private static let tieKey = "tie_word_embeddings"

  private func architecture(startingAt checkpoint: RunCheckpoint?) throws -> DescribedModel {
    var described = DescribedModel(configuration: try baseModel(startingAt: checkpoint))
    let followed = model.architecture == nil ? try followedTokens(startingAt: checkpoint) : nil
    let isFollowing = followed.map { described.configuration.follow($0) } ?? false
    if let overrides = model.overrides, case .mapping(let entries) = overrides, !entries.isEmpty {
      described.configuration = try described.configuration.applying(
        entries, file: "model.overrides")
      try checkKeys(of: overrides, at: "model.overrides", described.configuration.family)
    }
    if isFollowing && checkpoint == nil {
      described.notes.append(followingNote(described.configuration))
    }
    return described
  }

  /// What preset, architecture or folder say, without overrides.
  private func baseModel(startingAt checkpoint: RunCheckpoint?) throws -> ModelConfiguration {
    if let preset = model.preset {
      guard let found = ModelPreset.named(preset) else {
        let names = ModelPreset.all.map(\.name)
        throw error(
          at: "model.preset",
          "must be one of \(names.joined(separator: ", ")), is \(preset)")
      }
      return found.configuration
    }
    if let architecture = model.architecture {
      let base = try ModelConfiguration(
        parsing: Array(try completed(architecture, startingAt: checkpoint).json().utf8),
        file: "model.architecture")
      try checkKeys(of: architecture, at: "model.architecture", base.family)
      return base
    }
    if let path = model.path {
      try checkPresence("model.path", path)
      return try ModelConfiguration(path: path)
    }
    throw error(at: "model", "needs one of path, preset and architecture")
  }

  /// Refuses keys of another family, such as the number of experts of a dense model; those of no family
  /// were refused when the file was read.
  private func checkKeys(
    of value: ConfigurationValue, at path: String, _ family: ModelFamily
  ) throws {
    guard case .mapping(let entries) = value else { return }
    let known = Set(ModelConfiguration.knownKeys(of: family))
    let problems = entries.filter { !known.contains($0.key) && $0.value != .null }.map { entry in
      problem(
        at: "\(path).\(entry.key)",
        "has no meaning for model_type \(family.modelType); leave it out, or take a model_type that "
          + "has it")
    }
    guard problems.isEmpty else {
      throw ConfigurationError(file: locations.file, problems: problems)
    }
  }

  /// Refuses losses of routers where nothing routes; the default, which a resolved configuration has
  /// written in it, says nothing about a model without experts.
  private func checkMixtureOptions(_ configuration: ModelConfiguration) throws {
    guard configuration.layers.allSatisfy({ $0.feedForward.mixture == nil }) else { return }
    let defaults = LossOptions()
    let given = [
      ("loss.balance_loss", loss.balanceLoss, defaults.balanceLoss),
      ("loss.router_z_loss", loss.routerZLoss, defaults.routerZLoss),
    ]
    let problems = given.filter { $0.1 != 0 && $0.1 != $0.2 }.map { key, value, _ in
      problem(at: key, "has no effect, is \(value): the model has no experts; leave it out")
    }
    guard problems.isEmpty else {
      throw ConfigurationError(file: locations.file, problems: problems)
    }
  }

  private func balanceDetail(_ configuration: ModelConfiguration) -> [String] {
    let key = "router_aux_loss_coef"
    guard configuration.source?[key] != nil,
      configuration.layers.contains(where: { $0.feedForward.mixture != nil })
    else { return [] }
    return [
      """
      \(key) \(configuration.balanceLossCoefficient) of config.json is kept for the export and not \
      used: loss.balance_loss \(loss.balanceLoss) rules
      """
    ]
  }
}

extension ModelConfiguration {
  /// The configuration with keys of its `config.json` replaced, whatever their spelling.
  func applying(
    _ overrides: [ConfigurationValue.Entry], file: String
  ) throws -> ModelConfiguration {
    let document = try JSONDocument(parsing: Array(try configurationText().utf8))
    guard var object = document.object else { return self }
    let given = overrides.map(\.key)
    for entry in overrides {
      for other in Self.spellings(of: entry.key) where !given.contains(other) {
        object[other] = nil
      }
      let value = try JSONDocument(parsing: Array(entry.value.json().utf8))
      // A base inside replaces the one outside, unless that is given too.
      if value.object?["rope_theta"] != nil && !given.contains("rope_theta") {
        object["rope_theta"] = nil
      }
      object[entry.key] = value
    }
    return try ModelConfiguration(
      parsing: Array(JSONDocument.object(object).compactText().utf8), file: file)
  }
}
