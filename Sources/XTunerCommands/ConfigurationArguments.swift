package import ArgumentParser

/// A run's configuration file with changes to it, as every command takes it.
package struct ConfigurationArguments: ParsableArguments {
  @Argument(help: "The YAML file that describes the run.")
  package var file: String

  @Option(
    name: .customLong("set"),
    help: ArgumentHelp(
      "Replaces one option, as in training.steps=100; may be given several times.",
      valueName: "key=value"))
  package var overrides: [String] = []

  package init() {}

  package func validate() throws {
    for text in overrides where !text.dropFirst().contains("=") {
      throw ValidationError(
        "--set needs section.key=VALUE, such as training.steps=100, is \(text)")
    }
  }
}
