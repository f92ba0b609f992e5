package import ArgumentParser
import XTunerConfiguration
import XTunerInput
import XTunerRun

/// `xtuner config`: what a configuration says, and what it may say.
package struct ConfigCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Checks, shows and documents configuration files.",
    discussion: """
      EXAMPLES:
        xtuner config check config.yaml
        xtuner config show config.yaml --set training.steps=100
      """,
    subcommands: [
      ConfigCheckCommand.self, ConfigShowCommand.self, ConfigSchemaCommand.self,
      ConfigReferenceCommand.self,
    ])

  package init() {}
}

/// `xtuner config check`: reports every problem at once.
package struct ConfigCheckCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Reports everything that is wrong with a configuration, with line numbers.",
    discussion: """
      A dry run: it also opens the model's files, the tokenizer and the data, of which it reads the \
      first records, and compares them with each other and with the options. Nothing is written, and \
      no weights are read. --form-only looks at the file alone.

      EXAMPLES:
        xtuner config check config.yaml
        xtuner config check config.yaml --set optimizer.learning_rate=1e-4 --json
        xtuner config check config.yaml --form-only
      """)

  @OptionGroup package var source: ConfigurationArguments

  @Flag(help: "Check keys, types and ranges, and open no file that the configuration names.")
  package var formOnly = false

  @Flag(help: "Print one JSON object: valid, and the list of problems.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .configCheck(self) }

  /// What `--form-only` comes to, for which nothing of the engine is needed; nil where the command
  /// asks for more, or for JSON, which the engine writes.
  package func formOutcome() -> CommandLineOutcome? {
    guard formOnly, !json else { return nil }
    do throws(ConfigurationError) {
      _ = try RunConfiguration.load(file: source.file, overrides: source.overrides)
      // An empty line stands where the engine lists what it found.
      return .text("\(source.file): no problems\n")
    } catch {
      let text = "error: \(ReadableText.message(error.listing))"
      return .failure(text.wrapped(for: .standardError))
    }
  }
}

/// `xtuner config show`: the resolved configuration.
package struct ConfigShowCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Prints a configuration with every option, its default and its meaning.",
    discussion: """
      The output is a configuration file itself.

      EXAMPLES:
        xtuner config show config.yaml
        xtuner config show config.yaml --set schedule.name=linear --no-comments
      """)

  @OptionGroup package var source: ConfigurationArguments

  @Flag(inversion: .prefixedNo, help: "Explain each option in a comment.")
  package var comments = true

  @Flag(help: "Print one JSON object instead of YAML.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .configShow(self) }
}

/// `xtuner config schema`: a JSON schema for editors.
package struct ConfigSchemaCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "Prints the JSON schema of configuration files, for editors.",
    discussion: """
      An editor with a YAML language server completes and checks a file whose first line is
      # yaml-language-server: $schema=xtuner.schema.json

      EXAMPLES:
        xtuner config schema > xtuner.schema.json
      """)

  package init() {}

  package var request: EngineRequest { .configSchema(self) }
}

/// `xtuner config reference`: docs/configuration.md.
package struct ConfigReferenceCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "reference",
    abstract: "Prints the reference of all options as Markdown.",
    discussion: """
      EXAMPLES:
        xtuner config reference > docs/configuration.md
      """)

  package init() {}

  package var request: EngineRequest { .configReference(self) }
}
