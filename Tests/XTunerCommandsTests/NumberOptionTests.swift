import ArgumentParser
import Foundation
import Testing

@testable import XTunerCommands

/// Every option of every command that takes a number.
@Suite struct NumberOptionTests {
  /// A command line without optional options, by the command's name.
  static let lines = [
    "train": "train a", "generate": "generate m --prompt a", "export": "export r --to d",
    "demo": "demo", "config check": "config check a", "config show": "config show a",
    "config schema": "config schema", "config reference": "config reference",
    "data inspect": "data inspect a", "data stats": "data stats a",
    "data dump": "data dump a --steps 1 --out f",
    "tokenizer train": "tokenizer train --input a --vocabulary-size 300 --out t",
    "tokenizer encode": "tokenizer encode --tokenizer t --input a --out b",
    "tokenizer decode": "tokenizer decode --tokenizer t 1", "tokenizer info": "tokenizer info t",
    "probe": "probe m --tokens t --out o", "bench step": "bench step", "bench gemm": "bench gemm",
    "bench tokenize": "bench tokenize --tokenizer t --input a", "bench load": "bench load f",
    "bench pack": "bench pack", "bench read": "bench read f", "info": "info",
  ]

  /// The command and the option.
  static let options: [[String]] = {
    let text = XTunerCommand._dumpHelp()
    let root = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    return options(of: root?["command"] as? [String: Any] ?? [:], [])
  }()

  private static func options(of command: [String: Any], _ path: [String]) -> [[String]] {
    let children = command["subcommands"] as? [[String: Any]] ?? []
    let arguments = command["arguments"] as? [[String: Any]] ?? []
    let own = arguments.filter { $0["kind"] as? String == "option" }.compactMap { argument in
      let names = argument["names"] as? [[String: Any]] ?? []
      return names.first { $0["kind"] as? String == "long" }?["name"] as? String
    }
    guard children.isEmpty else {
      return children.flatMap { child in
        options(of: child, path + [child["commandName"] as? String ?? "?"])
      }
    }
    // `help` is the parser's own.
    guard path.last != "help" else { return [] }
    return own.map { [path.joined(separator: " "), "--\($0)"] }
  }

  private static func failure(_ words: [String]) -> String? {
    if case .failure(let text) = CommandLineOutcome.parse(words) { return text }
    return nil
  }

  @Test func everyCommandIsLookedAt() {
    #expect(Self.options.count > 60)
    #expect(Self.options.contains(["data dump", "--steps"]))
    for option in Self.options { #expect(Self.lines[option[0]] != nil, "\(option)") }
  }

  @Test(arguments: options, ["4611686018427387904", "9.9e300"])
  func numbersWithoutMeasureAreRefused(option: [String], value: String) throws {
    let line = try #require(Self.lines[option[0]]).split(separator: " ").map(String.init)
    // Texts take anything; a number and a word of a list do not take this.
    guard let refusal = Self.failure(line + [option[1], "?"]), refusal.contains("is invalid") else {
      return
    }
    // A seed is mixed into other numbers, whatever it is.
    if option[1] == "--seed", value.allSatisfy(\.isNumber) { return }
    let text = try #require(Self.failure(line + [option[1], value]), "\(option) takes \(value)")
    #expect(text.contains("at most") || text.contains("is invalid"), "\(text)")
    #expect(text.contains(option[1]), "\(text)")
  }

  @Test func benchmarksBoundTheirEnvironment() throws {
    guard case .run(.benchStep(let command)) = CommandLineOutcome.parse(["bench", "step"]) else {
      Issue.record("bench step does not parse")
      return
    }
    let error = #expect(throws: ValidationError.self) {
      try command.sequenceLength(environment: ["SEQ": "4611686018427387904"])
    }
    #expect(error?.message.contains("SEQ must be at most 16777216") == true)
  }
}
