package import ArgumentParser
import XTunerRun

/// `xtuner`: the root of the command tree.
package struct XTunerCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "xtuner",
    abstract: "Trains mixture-of-experts language models, from raw text to a model in use.",
    discussion: """
      EXAMPLES:
        xtuner demo                               data, tokenizer, training, answers
        xtuner train config.yaml                  pre-training or fine-tuning
        xtuner data inspect config.yaml           a sample and its loss mask
        xtuner generate runs/config/export --chat
        xtuner help train

      EXIT CODES:
          0  everything that was asked for is done
          1  a failure that no other code describes
          2  the command line or the configuration cannot be used
          3  training data is missing, broken or empty
          4  a model, tokenizer or checkpoint is missing, broken or does not fit
          5  loss, gradients or weights are not finite
          6  a tensor operation failed, such as for want of memory
          7  a file cannot be written: no space or permission, or the run is in use
          8  a rank was lost, timed out or could not be reached
         75  stopped by a signal, with a checkpoint; the same command resumes
        130  interrupted a second time: stopped at once, without a checkpoint
      """,
    version: XTunerVersion.current,
    subcommands: [
      TrainCommand.self, GenerateCommand.self, ExportCommand.self, DemoCommand.self,
      ConfigCommand.self, DataCommand.self, TokenizerCommand.self, ProbeCommand.self,
      BenchCommand.self, InfoCommand.self,
    ])

  package init() {}
}

/// A command that needs libtorch, and so runs in `xtuner-engine`.
///
/// Loading libtorch takes longer than a person wants to wait for a help page. `xtuner` therefore
/// only parses: a valid command line is handed to `xtuner-engine`, which knows the same commands.
package protocol EngineCommand: ParsableCommand {
  /// The command as a case, so that the engine's `switch` over all commands is complete.
  var request: EngineRequest { get }
}

/// Every command that the engine runs.
package enum EngineRequest {
  case train(TrainCommand)
  case generate(GenerateCommand)
  case export(ExportCommand)
  case probe(ProbeCommand)
  case demo(DemoCommand)
  case info(InfoCommand)
  case configCheck(ConfigCheckCommand)
  case configShow(ConfigShowCommand)
  case configSchema(ConfigSchemaCommand)
  case configReference(ConfigReferenceCommand)
  case dataInspect(DataInspectCommand)
  case dataStats(DataStatsCommand)
  case dataDump(DataDumpCommand)
  case tokenizerTrain(TokenizerTrainCommand)
  case tokenizerEncode(TokenizerEncodeCommand)
  case tokenizerDecode(TokenizerDecodeCommand)
  case tokenizerInfo(TokenizerInfoCommand)
  case benchStep(BenchStepCommand)
  case benchGemm(BenchGemmCommand)
  case benchTokenize(BenchTokenizeCommand)
  case benchLoad(BenchLoadCommand)
  case benchPack(BenchPackCommand)
  case benchRead(BenchReadCommand)
}
