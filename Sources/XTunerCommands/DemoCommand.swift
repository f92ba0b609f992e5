package import ArgumentParser
import XTunerInput

/// `xtuner demo`: from nothing to a model that answers.
package struct DemoCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Makes data, a tokenizer and a small mixture-of-experts model; shows its answers.",
    discussion: """
      Generates arithmetic word problems, trains a tokenizer and a Qwen3-MoE model on them from \
      scratch, and prints how many held-out problems it solves before and after. Nothing is \
      downloaded.

      EXAMPLES:
        xtuner demo
        xtuner demo --out runs/my-demo --threads 2
        xtuner demo --json
      """)

  @Option(help: "The run directory; must not exist or hold an earlier demo.")
  package var out = "runs/demo"

  @Option(help: "CPU threads; all cores when left out.")
  package var threads: Int?

  @Flag(help: "Print one JSON object about the result.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .demo(self) }

  package func validate() throws {
    try OptionLimits.check("--threads", threads, from: 1, .threads)
  }
}
