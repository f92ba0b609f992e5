package import ArgumentParser

/// `xtuner info`: devices, libraries, versions.
package struct InfoCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Prints devices, libraries, versions and what this program knows by name.",
    discussion: """
      EXAMPLES:
        xtuner info
        xtuner info --json
      """)

  @Flag(help: "Print one JSON object.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .info(self) }
}
