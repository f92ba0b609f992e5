package import ArgumentParser
import XTunerInput

/// `xtuner data`: what a run will train on.
package struct DataCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "data",
    abstract: "Shows samples, statistics and packs of a run's data.",
    discussion: """
      EXAMPLES:
        xtuner data inspect config.yaml
        xtuner data stats config.yaml
      """,
    subcommands: [DataInspectCommand.self, DataStatsCommand.self, DataDumpCommand.self])

  package init() {}
}

/// `xtuner data inspect`: samples as the model sees them.
package struct DataInspectCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Shows samples as the model sees them, with the tokens that carry loss in colour.",
    discussion: """
      Each sample is shown with the file and line it comes from and its numbers of tokens. \
      Tokens with a loss are green on a terminal; without colour they stand between \
      \u{27E6} and \u{27E7}.

      EXAMPLES:
        xtuner data inspect config.yaml
        xtuner data inspect config.yaml --index 41 --samples 3
        xtuner data inspect config.yaml --source chats --color always | less -R
        xtuner data inspect config.yaml --json
      """)

  @OptionGroup package var source: ConfigurationArguments

  @Option(help: "How many samples to show.")
  package var samples = 1

  @Option(help: "The first sample to show, counted from 0 in the order of the files.")
  package var index = 0

  @Option(
    name: .customLong("source"), help: "The name of the data source; the first when left out.")
  package var sourceName: String?

  @Option(help: "When to colour: auto, always or never.")
  package var color = ColorMode.automatic

  @Flag(help: "Print one JSON object a sample: origin, tokens, loss mask, text.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .dataInspect(self) }

  package func validate() throws {
    try OptionLimits.check("--samples", samples, from: 1, .shownSamples)
    try OptionLimits.check("--index", index, from: 0, .index)
  }
}

/// `xtuner data stats`: numbers about the data.
package struct DataStatsCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Prints lengths, packing efficiency and the share of masked tokens, per source.",
    discussion: """
      EXAMPLES:
        xtuner data stats config.yaml
        xtuner data stats config.yaml --set data.packing=none --json
      """)

  @OptionGroup package var source: ConfigurationArguments

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .dataStats(self) }
}

/// `xtuner data dump`: the packs of the first steps.
package struct DataDumpCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "dump",
    abstract: "Writes the packs of a run's first steps as safetensors.",
    discussion: """
      The file holds int64 tensors: tokens and labels [steps, packs, sequence_length], filled up \
      with 0 and -100, and lengths [steps, packs, samples], the lengths of a pack's samples, \
      filled up with 0. Labels are not shifted: a model predicts label i+1 at token i.

      EXAMPLES:
        xtuner data dump config.yaml --steps 20 --out batches.safetensors
      """)

  @OptionGroup package var source: ConfigurationArguments

  @Option(help: "How many optimizer steps to write.")
  package var steps: Int

  @Option(help: "The file to write.")
  package var out: String

  @Flag(help: "Print one JSON object about the file.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .dataDump(self) }

  package func validate() throws {
    try OptionLimits.check("--steps", steps, from: 1, .steps)
  }
}
