package import ArgumentParser
import XTunerInput

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

/// The number of CPU threads, as commands take it that compute with tensors.
package struct ThreadOption: ParsableArguments {
  @Option(
    name: .customLong("threads"), help: "CPU threads; all cores when left out.")
  package var count: Int?

  package init() {}

  package func validate() throws {
    try OptionLimits.check("--threads", count, from: 1, .threads)
  }
}

/// A tokenizer's place, as commands take it that read no model.
package struct TokenizerOption: ParsableArguments {
  @Option(
    name: .customLong("tokenizer"),
    help: "A folder with a tokenizer, a tokenizer.json or a tiktoken file.")
  package var path: String

  package init() {}
}

/// How a result is written, as commands take it whose object needs no explanation.
package struct ResultOption: ParsableArguments {
  @Flag(name: .customLong("json"), help: "Print one JSON object.")
  package var isJSON = false

  package init() {}
}
