/// An architecture the engine can build, as the table of what its folder knows: how `config.json` is
/// read, checked and written, the model, the names of its weights.
public struct ModelFamily: Sendable, Hashable {
  /// The value of `model_type` in a `config.json`.
  public let modelType: String
  /// The class name in `architectures` of a `config.json`.
  public let architecture: String
  /// Keys of `config.json` that decide something, or are refused where they cannot be honoured.
  let usedKeys: Set<String>  // own names
  /// Keys that published files have and that mean nothing here, each with the reason.
  let ignoredKeys: [String: String]  // own names
  /// Reads the keys.
  let read: @Sendable (inout ConfigurationReader) -> ModelConfiguration
  /// What the file format cannot say must not be in a configuration of this family.
  let check: @Sendable (ModelConfiguration, inout ContradictionList) -> Void
  /// Writes the keys of layers; those that all families share are there already.
  let write: @Sendable (ModelConfiguration, inout JSONObject) -> Void
  /// Builds the model, without memory.
  let makeModel: @Sendable (ModelConfiguration) -> LanguageModel
  /// Names the weights.
  let mapWeights: @Sendable (ModelConfiguration, inout WeightMap) -> Void
  /// Modules that a float8 file leaves in bfloat16, by the names of their weights.
  let unquantizedModules: @Sendable (ModelConfiguration) -> [String]

  /// Two families are the same where their `model_type` is.
  public static func == (first: ModelFamily, second: ModelFamily) -> Bool {
    first.modelType == second.modelType
  }

  /// Hashes `model_type`.
  public func hash(into hasher: inout Hasher) { hasher.combine(modelType) }
}

extension ModelFamily {
  /// The family of a `model_type`, or nil where there is none.
  public init?(modelType: String) {
    guard let found = Self.allCases.first(where: { $0.modelType == modelType }) else { return nil }
    self = found
  }
}

extension ModelConfiguration {
  /// The model, without memory.
  public func makeModel() -> LanguageModel { family.makeModel(self) }

  /// Counts and work of the model, which is built for it; a built one has its own.
  public var facts: ModelFacts { makeModel().facts }
}

/// A published model, by the name of its repository.
public struct ModelPreset: Sendable, Hashable {
  /// The published name, such as `Qwen3-30B-A3B`.
  public var name: String
  /// Its configuration.
  public var configuration: ModelConfiguration

  /// The preset of a name, in any case; nil where there is none.
  public static func named(_ name: String) -> ModelPreset? {
    let wanted = name.lowercased()
    return all.first { $0.name.lowercased() == wanted }
  }
}
