import Foundation
import XTunerCommands
import XTunerSystem

/// The program that people start: it parses, answers what needs no libtorch, and becomes the
/// engine for everything else.
@main
enum XTuner {
  static func main() {
    StandardStream.reserveDescriptors()
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch CommandLineOutcome.parse(arguments) {
    case .text(let text):
      exit(writeResult(text))
    case .failure(let text):
      StandardStream.error.write("\(text)\n")
      exit(CommandLineOutcome.usageExitCode)
    case .run:
      let failure = EngineProcess.replaceCurrent(arguments: arguments)
      StandardStream.error.write("error: \(failure)\n")
      exit(1)
    }
  }

  /// The exit code: a page that nobody got was not shown.
  private static func writeResult(_ text: String) -> Int32 {
    guard !text.isEmpty, let failure = StandardStream.output.write("\(text)\n") else { return 0 }
    StandardStream.error.write(
      "error: standard output cannot be written: \(String(cString: strerror(failure)))\n")
    return CommandLineOutcome.storageExitCode
  }
}
