package import XTunerConfiguration

/// Loads a text as `run.yaml`.
package func load(_ text: String, _ overrides: [String] = []) throws -> RunConfiguration {
  try RunConfiguration.parse(text, file: "run.yaml", overrides: overrides)
}

/// The whole error text of a configuration that must not load, or that it loaded.
package func problems(_ text: String, _ overrides: [String] = []) -> String {
  do {
    _ = try RunConfiguration.parse(text, file: "run.yaml", overrides: overrides)
    return "the configuration loaded"
  } catch {
    return error.description
  }
}
