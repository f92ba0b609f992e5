import ArgumentParser
import XTunerInput

/// What a command line asks for.
package enum CommandLineOutcome {
  /// A command for the engine.
  case run(EngineRequest)
  /// A text for standard output, such as a help page; the process succeeds.
  case text(String)
  /// A text for standard error; the command line or the configuration cannot be used.
  case failure(String)

  /// Parses the arguments, without the program's own name.
  package static func parse(_ arguments: [String]) -> CommandLineOutcome {
    // The parser shows the page of the root for `help` of what is no command.
    if arguments.first == "help", let text = unknownCommand(arguments) {
      return .failure(
        "error: \(ReadableText.line(text))\n  See 'xtuner --help' for more information.")
    }
    do {
      var command = try XTunerCommand.parseAsRoot(arguments)
      if let command = command as? any EngineCommand { return .run(command.request) }
      // A group such as `xtuner data` prints its help; so do help and completion requests.
      try command.run()
      return .text("")
    } catch {
      return outcome(of: error, arguments)
    }
  }

  private static func outcome(
    of error: any Error, _ arguments: [String]
  ) -> CommandLineOutcome {
    let page = XTunerCommand.fullMessage(for: error, columns: nil)
    guard XTunerCommand.exitCode(for: error) != .success else { return .text(page) }
    var lines = page.split(separator: "\n", omittingEmptySubsequences: false)
    if let first = lines.first, first.hasPrefix("Error: ") {
      let text = unknownCommand(arguments) ?? String(first.dropFirst("Error: ".count))
      lines[0] = "error: \(text)"
    }
    return .failure(ReadableText.message(lines.joined(separator: "\n")))
  }

  /// What to say about a word that stands where a command should; nil where all are commands.
  private static func unknownCommand(_ arguments: [String]) -> String? {
    var type: any ParsableCommand.Type = XTunerCommand.self
    var path: [String] = []
    for word in arguments {
      let children = type.configuration.subcommands
      guard !children.isEmpty, !word.hasPrefix("-") else { return nil }
      if word == "help" { continue }
      if let child = children.first(where: { name(of: $0) == word }) {
        type = child
        path.append(word)
        continue
      }
      let names = children.map(name(of:))
      let group = (["xtuner"] + path).joined(separator: " ")
      let meant =
        Spelling.suggestion(for: word, among: names).map { (path + [$0]).joined(separator: " ") }
        ?? commands(XTunerCommand.self, []).first { $0.last == word }?.joined(separator: " ")
      let hint = meant.map { "did you mean xtuner \($0)?" }
      return "\(group) has no command \(word); "
        + (hint ?? "it has \(names.joined(separator: ", "))")
    }
    return nil
  }

  /// The words of every command that is no group.
  private static func commands(
    _ type: any ParsableCommand.Type, _ path: [String]
  ) -> [[String]] {
    let children = type.configuration.subcommands
    return children.isEmpty ? [path] : children.flatMap { commands($0, path + [name(of: $0)]) }
  }

  private static func name(of type: any ParsableCommand.Type) -> String {
    type.configuration.commandName ?? "\(type)"
  }
}
