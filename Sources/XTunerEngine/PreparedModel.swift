public import Torch
import XTunerCheckpoint
public import XTunerModels
public import XTunerNN
public import XTunerParallel

/// A model with memory and weights.
public struct PreparedModel {
  /// The model.
  public let model: LanguageModel
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
    self.model = configuration.makeModel()
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
    let folder = try HFCheckpointFolder(path: path)
    self.init(
      try folder.untying(configuration), computeDType: computeDType, isTrained: isTrained,
      mesh: mesh)
    try HFWeights.load(folder, into: model, units: units)
  }

  /// Copies the weights of a Hugging Face folder.
  public func load(path: String) throws {
    try HFWeights.load(try HFCheckpointFolder(path: path), into: model, units: units)
  }

  /// Draws first weights.
  public func initialize(seed: UInt64) {
    units.initialize(seed: seed)
  }
}
