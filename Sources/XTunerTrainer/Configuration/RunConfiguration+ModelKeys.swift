import XTunerModels

extension RunConfiguration {
  /// Refuses keys of `model.architecture` and `model.overrides` that no family knows: written by hand,
  /// they are misspelt.
  func checkModelKeys(_ problems: inout ConfigurationProblems) {
    let known = ModelConfiguration.knownKeys
    for (name, value) in [("architecture", model.architecture), ("overrides", model.overrides)] {
      guard case .mapping(let entries) = value else { continue }
      for entry in entries where !known.contains(entry.key) {
        let path = "model.\(name).\(entry.key)"
        let hint = UnknownKey.hint(for: entry.key, known: known, section: "model.\(name)")
        problems.reject(path, "is no key of config.json that has an effect here; \(hint)")
      }
    }
  }
}
