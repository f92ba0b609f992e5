import Foundation
import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerRun
import XTunerSystem

/// The program behind `xtuner`, with everything that needs libtorch.
@main
enum XTunerEngine {
  static func main() {
    StandardStream.reserveDescriptors()
    Torch.keepFreedMemory()
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch CommandLineOutcome.parse(arguments) {
    case .text(let text):
      Output.write(text)
      exit(RunExitCode.success.rawValue)
    case .failure(let text):
      Output.note(text)
      exit(RunExitCode.usage.rawValue)
    case .run(let request):
      exit(run(request).rawValue)
    }
  }

  private static func run(_ request: EngineRequest) -> RunExitCode {
    do {
      return try dispatch(request)
    } catch {
      let failure = CommandFailure(error)
      Output.note("error: \(failure.message)")
      return failure.exitCode
    }
  }

  private static func dispatch(_ request: EngineRequest) throws -> RunExitCode {
    switch request {
    case .train, .demo: StandardStream.outliveReaders()
    default: break
    }
    switch request {
    case .train(let command): return try TrainHandler.run(command)
    case .generate(let command): try GenerateHandler.run(command)
    case .export(let command): try ExportHandler.run(command)
    case .probe(let command): try ProbeHandler.run(command)
    case .demo(let command): try DemoHandler.run(command)
    case .info(let command): InfoHandler.run(command)
    case .configCheck(let command): return try ConfigHandler.check(command)
    case .configShow(let command): try ConfigHandler.show(command)
    case .configSchema: Output.write(ConfigurationReference.jsonSchema(), terminator: "")
    case .configReference: Output.write(ConfigurationReference.markdown(), terminator: "")
    case .dataInspect(let command): try DataInspectHandler.run(command)
    case .dataStats(let command): try DataStatsHandler.run(command)
    case .dataDump(let command): try DataDumpHandler.run(command)
    case .tokenizerTrain(let command): try TokenizerTrainHandler.run(command)
    case .tokenizerEncode(let command): try TokenizerHandler.encode(command)
    case .tokenizerDecode(let command): try TokenizerHandler.decode(command)
    case .tokenizerInfo(let command): try TokenizerHandler.info(command)
    case .benchStep(let command): try BenchStepHandler.run(command)
    case .benchGemm(let command): BenchGemmHandler.run(command)
    case .benchTokenize(let command): try BenchTokenizeHandler.run(command)
    case .benchLoad(let command): try BenchLoadHandler.run(command)
    case .benchPack(let command): try BenchPackHandler.run(command)
    case .benchRead(let command): try BenchReadHandler.run(command)
    }
    return .success
  }
}
