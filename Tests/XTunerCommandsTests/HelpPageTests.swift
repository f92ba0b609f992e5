import ArgumentParser
import Testing
import XTunerRun

@testable import XTunerCommands

@Suite struct HelpPageTests {
  /// Every command of the tree with the words that lead to it.
  static let commands: [[String]] = paths(XTunerCommand.self, [])

  private static func paths(_ type: any ParsableCommand.Type, _ path: [String]) -> [[String]] {
    [path]
      + type.configuration.subcommands.flatMap { child in
        paths(child, path + [child.configuration.commandName ?? "?"])
      }
  }

  @Test(arguments: commands)
  func everyCommandHasHelpWithExamples(path: [String]) {
    guard case .text(let page) = CommandLineOutcome.parse(path + ["--help"]) else {
      Issue.record("\(path): no help page")
      return
    }
    #expect(page.contains("EXAMPLES:"))
    #expect(page.contains("  xtuner \(path.joined(separator: " "))"))
    #expect(page.contains("USAGE: xtuner"))
  }

  @Test func theTreeHasEveryPromisedCommand() {
    let names = Set(Self.commands.map { $0.joined(separator: " ") })
    let promised = [
      "train", "config check", "config show", "config schema", "data inspect", "data stats",
      "probe", "generate", "export", "bench step", "bench gemm", "bench tokenize", "bench load",
      "bench pack", "bench read", "info",
    ]
    #expect(promised.filter { !names.contains($0) } == [])
  }

  /// The lines of every help text, before they are wrapped.
  static let lines: [String] = discussions(XTunerCommand.self).flatMap { text in
    text.split(separator: "\n").map(String.init)
  }

  private static func discussions(_ type: any ParsableCommand.Type) -> [String] {
    [type.configuration.discussion] + type.configuration.subcommands.flatMap(discussions)
  }

  @Test(arguments: lines.filter { $0.hasPrefix("  xtuner ") })
  func everyExampleParses(line: String) {
    let words = Self.words(String(line.dropFirst("  xtuner ".count)))
    if case .failure(let text) = CommandLineOutcome.parse(words) {
      Issue.record("\(words): \(text)")
    }
  }

  /// What `xtuner demo` leaves, and what `xtuner train config.yaml` does.
  static let madePaths: Set = [
    "runs/demo", "runs/my-demo", "runs/demo/run", "runs/demo/run/export",
    "runs/demo/run/checkpoints/step-00000366", "runs/config/export",
    "runs/a/checkpoints/step-00000100",
  ]

  @Test func examplesNamePathsThatExist() {
    let words = Self.lines.filter { $0.hasPrefix("  xtuner ") }.flatMap {
      Self.words(String($0.dropFirst(2)))
    }
    let paths = words.map { String($0.split(separator: "=").last ?? "") }
      .filter { $0.hasPrefix("runs/") }
    #expect(paths.count > 5)
    #expect(paths.filter { !Self.madePaths.contains($0) } == [])
  }

  @Test func indentedLinesFitATerminalOf80Columns() {
    #expect(Self.lines.filter { $0.hasPrefix("  ") && $0.count > 80 } == [])
  }

  /// The words of a shell line: quotes group, pipes and redirections end it.
  private static func words(_ line: String) -> [String] {
    var words: [String] = []
    var word = ""
    var isQuoted = false
    for character in line {
      switch character {
      case "\"": isQuoted.toggle()
      case "|" where !isQuoted, ">" where !isQuoted: return words
      case " " where !isQuoted:
        // Two spaces start the explanation.
        if word.isEmpty { return words }
        words.append(word)
        word = ""
      default: word.append(character)
      }
    }
    return word.isEmpty ? words : words + [word]
  }

  @Test func versionIsOneLine() {
    guard case .text(let text) = CommandLineOutcome.parse(["--version"]) else {
      Issue.record("no version")
      return
    }
    #expect(text == XTunerVersion.current)
  }

  @Test func aGroupWithoutSubcommandPrintsItsHelp() {
    guard case .text(let page) = CommandLineOutcome.parse(["data"]) else {
      Issue.record("no help page")
      return
    }
    #expect(page.contains("SUBCOMMANDS:"))
  }
}
