import Foundation
import XTunerCommands

/// The program that people start: it parses, answers what needs no libtorch, and becomes the
/// engine for everything else.
@main
enum XTuner {
  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch CommandLineOutcome.parse(arguments) {
    case .text(let text):
      write(text, to: STDOUT_FILENO)
      exit(0)
    case .failure(let text):
      write(text, to: STDERR_FILENO)
      exit(CommandLineOutcome.usageExitCode)
    case .run:
      let failure = EngineProcess.replaceCurrent(arguments: arguments)
      write("error: \(failure)", to: STDERR_FILENO)
      exit(1)
    }
  }

  private static func write(_ text: String, to descriptor: Int32) {
    guard !text.isEmpty else { return }
    var bytes = Array("\(text)\n".utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      bytes = bytes.dropFirst(count)
    }
  }
}
