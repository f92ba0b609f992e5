package import ArgumentParser
import XTunerInput

/// `xtuner train`: pre-training and supervised fine-tuning.
package struct TrainCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Trains a model as a configuration file describes it.",
    discussion: """
      Progress goes to standard error. The run directory (run.directory) receives the resolved \
      config.yaml, metrics.jsonl, log.txt, loss.svg, checkpoints/ and export/. Ctrl-C or SIGTERM \
      ends the run after the current step with a checkpoint and exit code 75; the same command \
      then goes on where it stopped, with the same losses as a run that never stopped.

      EXAMPLES:
        xtuner train config.yaml
        xtuner train config.yaml --set training.steps=100 --set run.name=short
        xtuner train config.yaml --nproc 4 --set parallel.expert=2
        xtuner train config.yaml --resume never
        xtuner train branch.yaml --resume runs/a/checkpoints/step-00000100
      """)

  @OptionGroup package var source: ConfigurationArguments

  @Option(
    help: ArgumentHelp(
      """
      auto goes on from the newest checkpoint of the run directory if there is one, never \
      refuses a directory that holds a run, anew begins at step 0 where the run's checkpoints \
      are lost or damaged, a path goes on from that checkpoint, or from the newest one of that \
      run directory.
      """,
      valueName: "auto|never|anew|DIR"))
  package var resume = "auto"

  @Option(
    name: .customLong("nproc"),
    help: """
      Processes to start on this machine, which share the work as the section parallel says. Leave \
      it out under torchrun or srun, which start the processes.
      """)
  package var processCount = 1

  @Option(
    name: .customLong("trace"),
    help: ArgumentHelp(
      """
      Write a timeline of these steps, of all ranks, to trace.json in the run directory; Perfetto \
      and chrome://tracing open it.
      """,
      valueName: "steps=FIRST..LAST"))
  package var tracedSteps: String?

  @Flag(help: "Print one JSON object about the finished run on standard output.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .train(self) }

  package func validate() throws {
    try OptionLimits.check("--nproc", processCount, from: 1, .processes)
    guard !resume.isEmpty else {
      throw ValidationError("--resume must be auto, never, anew or a checkpoint folder, is empty")
    }
  }
}

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

  @OptionGroup package var threads: ThreadOption

  @Flag(help: "Print one JSON object about the result.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .demo(self) }
}
