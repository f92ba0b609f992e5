public import Torch
import XTunerCheckpoint
public import XTunerModels
public import XTunerNN
public import XTunerParallel

/// A model with memory and weights.
public struct PreparedModel {
  /// The model.
  public let model: CausalLanguageModel
  /// Its memory.
  public let units: ModelUnits

  /// Builds `configuration` and gives this rank's part of it memory; the weights are still zeros.
  ///
  /// `keepsMaster` says whether a trained model has float32 weights beside those that it computes with,
  /// `float8` what is multiplied as float8 and `float8Products` by whom, `gathersFloat8` whether it travels
  /// so where ranks share it, `decays` whether weight decay applies to a parameter.
  public init(
    _ configuration: ModelConfiguration, computeDType: DType, isTrained: Bool,
    keepsMaster: Bool = true, float8 modules: Set<Float8Module> = [],
    float8Products: Float8Products = .emulated, gathersFloat8: Bool = true,
    mesh: ProcessMesh = ProcessMesh(),
    decays: (Parameter) -> Bool = { $0.kind == .matrix || $0.kind == .embedding }
  ) {
    self.model = CausalLanguageModel(configuration)
    model.useFloat8(in: modules, products: float8Products)
    self.units = ModelUnits(
      model, computeDType: computeDType,
      purpose: !isTrained ? .inference : keepsMaster ? .training : .trainingWithoutMaster,
      mesh: mesh, gathersFloat8: gathersFloat8, decays: decays)
  }

  /// Reads `config.json` of a Hugging Face folder, and of its weights what this rank keeps.
  public init(
    path: String, computeDType: DType, isTrained: Bool = false, mesh: ProcessMesh = ProcessMesh()
  ) throws {
    let configuration = try ModelConfiguration(path: path)
    self.init(configuration, computeDType: computeDType, isTrained: isTrained, mesh: mesh)
    try load(path: path)
  }

  /// Copies the weights of a Hugging Face folder.
  public func load(path: String) throws {
    let folder = try HFCheckpointFolder(path: path)
    try HFWeights.load(folder, into: model, units: units)
  }

  /// Draws first weights.
  public func initialize(seed: UInt64) {
    units.initialize(seed: seed)
  }
}

extension RunConfiguration {
  /// The architecture that `model` describes, with `model.overrides` applied.
  ///
  /// - Throws: `ConfigurationError` for an unknown preset, `ModelConfigurationError` otherwise.
  ///
  /// Whether float8 is possible with it is checked too.
  public func modelConfiguration() throws -> ModelConfiguration {
    let configuration = try architecture()
    try checkFloat8(configuration)
    return configuration
  }

  private func architecture() throws -> ModelConfiguration {
    let base: ModelConfiguration
    if let preset = model.preset {
      guard let found = ModelPreset.named(preset) else {
        let names = ModelPreset.all.map(\.name)
        throw error(
          at: "model.preset",
          "must be one of \(names.joined(separator: ", ")), is \(preset)")
      }
      base = found.configuration
    } else if let architecture = model.architecture {
      base = try ModelConfiguration(
        parsing: Array(architecture.json().utf8), file: "model.architecture")
    } else if let path = model.path {
      try checkPresence("model.path", path)
      base = try ModelConfiguration(path: path)
    } else {
      throw error(at: "model", "needs one of path, preset and architecture")
    }
    guard case .mapping(let entries) = model.overrides, !entries.isEmpty else { return base }
    return try base.applying(entries, file: "model.overrides")
  }
}

extension ModelConfiguration {
  /// The configuration with keys of its `config.json` replaced.
  func applying(
    _ overrides: [ConfigurationValue.Entry], file: String
  ) throws -> ModelConfiguration {
    let document = try JSONDocument(parsing: Array(try configurationText().utf8))
    guard var object = document.object else { return self }
    for entry in overrides {
      object[entry.key] = try JSONDocument(parsing: Array(entry.value.json().utf8))
    }
    return try ModelConfiguration(
      parsing: Array(JSONDocument.object(object).compactText().utf8), file: file)
  }
}
