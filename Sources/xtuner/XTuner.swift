import Foundation
import XTunerCommands
import XTunerRun
import XTunerSystem

/// The program that people start: it parses, answers what needs no libtorch, and becomes the
/// engine for everything else.
@main
enum XTuner {
  static func main() {
    StandardStream.reserveDescriptors()
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch outcome(of: arguments) {
    case .text(let text):
      exit(writeResult(text))
    case .failure(let text):
      StandardStream.error.write("\(text)\n")
      exit(RunExitCode.usage.rawValue)
    case .run:
      let failure = EngineProcess.replaceCurrent(arguments: arguments)
      StandardStream.error.write("error: \(failure)\n")
      exit(RunExitCode.failure.rawValue)
    }
  }

  /// What the command line comes to, as far as that needs no engine.
  private static func outcome(of arguments: [String]) -> CommandLineOutcome {
    let outcome = CommandLineOutcome.parse(arguments)
    guard case .run(.configCheck(let command)) = outcome else { return outcome }
    return command.formOutcome() ?? outcome
  }

  /// The exit code: a page that nobody got was not shown.
  private static func writeResult(_ text: String) -> Int32 {
    guard !text.isEmpty, let failure = StandardStream.output.write("\(text)\n") else { return 0 }
    StandardStream.error.write(
      "error: standard output cannot be written: \(String(cString: strerror(failure)))\n")
    return RunExitCode.storage.rawValue
  }
}
