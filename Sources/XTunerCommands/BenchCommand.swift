package import ArgumentParser
import XTunerInput

/// `xtuner bench`: the figures that docs/performance.md quotes.
package struct BenchCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measures training steps, the machine's limits, and the ways of data.",
    discussion: """
      EXAMPLES:
        xtuner bench step --json
        xtuner bench gemm
      """,
    subcommands: [
      BenchStepCommand.self, BenchGemmCommand.self, BenchTokenizeCommand.self,
      BenchLoadCommand.self, BenchPackCommand.self, BenchReadCommand.self,
    ])

  package init() {}
}

/// `xtuner bench gemm`: rates of matrix products.
package struct BenchGemmCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "gemm",
    abstract: "Measures the machine's limits: matrix products, attention, memory bandwidth.",
    discussion: """
      The shapes are those of bench step's model: forward, input gradient (dx) and weight gradient \
      (dw) of each projection; our grouped products and attention; copying, adding to and reading \
      memory. A rate is the best of many repetitions, 2 FLOP a multiply-add. The roofline is the \
      tokens/s of a step in which every product runs at the rate of its shape, attention at that \
      of its tiles, the optimizer at memory speed, and nothing else takes time.

      EXAMPLES:
        xtuner bench gemm
        xtuner bench gemm --seconds 1 --json
      """)

  @Option(help: "Seconds to spend on each shape and number type.")
  package var seconds = 0.3

  @OptionGroup package var threads: ThreadOption

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .benchGemm(self) }

  package func validate() throws {
    try OptionLimits.check("--seconds", seconds, "above 0", .patience) { $0 > 0 }
  }
}

/// `xtuner bench tokenize`: tokenizer throughput.
package struct BenchTokenizeCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "tokenize",
    abstract: "Measures how fast a tokenizer encodes the lines of a text file.",
    discussion: """
      Each thread count from 1 to --threads is measured --rounds times; the best counts. Reading \
      the file is not in the time.

      EXAMPLES:
        xtuner bench tokenize --tokenizer Qwen3-0.6B --input a.txt
        xtuner bench tokenize --tokenizer tok --input a.txt --threads 2 --json
      """)

  @OptionGroup package var tokenizer: TokenizerOption

  @Option(help: "The text file to encode.")
  package var input: String

  @Option(help: "The largest number of threads; all cores when left out.")
  package var threads: Int?

  @Option(help: "Repetitions for each number of threads.")
  package var rounds = 3

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .benchTokenize(self) }

  package func validate() throws {
    try OptionLimits.check("--threads", threads, from: 1, .threads)
    try OptionLimits.check("--rounds", rounds, from: 1, .rounds)
  }
}

/// `xtuner bench load`: safetensors loading.
package struct BenchLoadCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "load",
    abstract: "Measures how fast a safetensors file is mapped, read and copied into tensors.",
    discussion: """
      The file's pages are in the system's cache from the second round on; the best round counts. \
      map opens the file and makes every tensor without touching its bytes.

      EXAMPLES:
        xtuner bench load model.safetensors
        xtuner bench load model.safetensors --rounds 5 --json
      """)

  @Argument(help: "The safetensors file.")
  package var file: String

  @Option(help: "Repetitions.")
  package var rounds = 3

  @OptionGroup package var result: ResultOption

  package init() {}

  package var request: EngineRequest { .benchLoad(self) }

  package func validate() throws {
    try OptionLimits.check("--rounds", rounds, from: 1, .rounds)
  }
}
