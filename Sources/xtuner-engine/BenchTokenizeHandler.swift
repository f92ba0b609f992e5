import Foundation
import XTunerCommands
import XTunerRun
import XTunerSystem
import XTunerTokenizers
import XTunerTrainer

/// `xtuner bench tokenize`.
enum BenchTokenizeHandler {
  static func run(_ command: BenchTokenizeCommand) throws {
    let tokenizer = try Tokenizer(
      path: try ModelLocation.ofProcess.path(of: command.tokenizer.path))
    guard let data = FileManager.default.contents(atPath: command.input) else {
      throw CommandFailure(.data, "\(command.input): cannot be read; give a text file")
    }
    let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard !data.isEmpty else {
      throw CommandFailure(.data, "\(command.input): is empty; give a text file")
    }
    let threads = command.threads ?? ProcessorCount.available()
    var tokenCount = 0
    let results = try (1...threads).map { count in
      var best = Double.infinity
      for _ in 0..<command.rounds {
        let time = try ContinuousClock().measure {
          tokenCount = try tokenizer.encodeBatch(lines, threads: count).reduce(0) { $0 + $1.count }
        }
        best = min(best, time.seconds)
      }
      return (threads: count, seconds: best)
    }
    if command.result.isJSON {
      let list = results.map { result in
        JSONValue.members([
          "threads": .integer(result.threads), "seconds": .number(result.seconds),
          "mb_per_second": .number(Double(data.count) / result.seconds / 1e6),
          "tokens_per_second": .number(Double(tokenCount) / result.seconds),
        ])
      }
      return Output.write([
        "bench": "tokenize", "bytes": .integer(data.count), "lines": .integer(lines.count),
        "tokens": .integer(tokenCount), "results": .array(list),
      ])
    }
    Output.write(
      rows: results.map { result in
        (
          "\(result.threads) thread\(result.threads == 1 ? "" : "s")",
          "\(NumberFormat.si(Double(data.count) / result.seconds))B/s, "
            + "\(NumberFormat.si(Double(tokenCount) / result.seconds)) tokens/s"
        )
      })
  }
}
