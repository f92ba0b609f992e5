import ArgumentParser

/// What a command line asks for.
package enum CommandLineOutcome {
  /// A command for the engine.
  case run(EngineRequest)
  /// A text for standard output, such as a help page; the process succeeds.
  case text(String)
  /// A text for standard error; the command line cannot be used.
  case failure(String)

  /// The exit code of a command line that cannot be used; `RunExitCode.usage` of the engine.
  package static let usageExitCode: Int32 = 2
  /// The exit code where the text cannot be written; `RunExitCode.storage` of the engine.
  package static let storageExitCode: Int32 = 7

  /// Parses the arguments, without the program's own name.
  package static func parse(_ arguments: [String]) -> CommandLineOutcome {
    do {
      var command = try XTunerCommand.parseAsRoot(arguments)
      if let command = command as? any EngineCommand { return .run(command.request) }
      // A group such as `xtuner data` prints its help; so do help and completion requests.
      try command.run()
      return .text("")
    } catch {
      return outcome(of: error)
    }
  }

  private static func outcome(of error: any Error) -> CommandLineOutcome {
    let page = XTunerCommand.fullMessage(for: error, columns: nil)
    guard XTunerCommand.exitCode(for: error) != .success else { return .text(page) }
    var lines = page.split(separator: "\n", omittingEmptySubsequences: false)
    if let first = lines.first, first.hasPrefix("Error: ") {
      lines[0] = "error: \(first.dropFirst("Error: ".count))"
    }
    return .failure(lines.joined(separator: "\n"))
  }
}
