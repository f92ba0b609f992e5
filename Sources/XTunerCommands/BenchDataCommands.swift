package import ArgumentParser
import XTunerInput

/// `xtuner bench pack`: the packer.
package struct BenchPackCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "pack",
    abstract: "Measures how fast samples are laid into packs.",
    discussion: """
      The lengths are drawn from a log-normal distribution with median 400 and sigma 1, cut at the \
      sequence length; the order is shuffled. The best round counts.

      EXAMPLES:
        xtuner bench pack
        xtuner bench pack --samples 1000000 --seq 8192 --json
      """)

  @Option(name: .customLong("samples"), help: "How many lengths to pack.")
  package var sampleCount = 10_000_000

  @Option(name: .customLong("seq"), help: "Tokens of a pack.")
  package var sequenceLength = 4096

  @Option(help: "Repetitions.")
  package var rounds = 2

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .benchPack(self) }

  package func validate() throws {
    try OptionLimits.check("--samples", sampleCount, from: 1, .packedSamples)
    try OptionLimits.check("--seq", sequenceLength, from: 1, .tokens)
    try OptionLimits.check("--rounds", rounds, from: 1, .rounds)
  }
}

/// `xtuner bench read`: records of data files.
package struct BenchReadCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "read",
    abstract: "Measures how fast one thread reads the records of a data file.",
    discussion: """
      bytes reads the file, lines finds its lines, records parses them and converts them to \
      conversations or texts as training does. The file's pages are in the system's cache from the \
      second round on; the best round counts.

      EXAMPLES:
        xtuner bench read train.jsonl
        xtuner bench read train.jsonl --rounds 5 --json
      """)

  @Argument(help: "The data file.")
  package var file: String

  @Option(help: "Repetitions.")
  package var rounds = 3

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .benchRead(self) }

  package func validate() throws {
    try OptionLimits.check("--rounds", rounds, from: 1, .rounds)
  }
}
