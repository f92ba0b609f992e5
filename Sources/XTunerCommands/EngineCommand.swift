package import ArgumentParser

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
