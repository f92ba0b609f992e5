import Foundation
import XTunerCommands
import XTunerData
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// `xtuner bench read`.
enum BenchReadHandler {
  /// How far reading goes.
  private struct Way {
    let name: String
    let meaning: String
    let read: (String) throws -> Int
    var seconds = Double.infinity
    var count = 0
  }

  static func run(_ command: BenchReadCommand) throws {
    var ways = [
      Way(name: "bytes", meaning: "chunks", read: DataFileProbe.chunkCount),
      Way(name: "lines", meaning: "lines", read: DataFileProbe.lineCount),
      Way(name: "records", meaning: "records", read: recordCount),
    ]
    let attributes = try? FileManager.default.attributesOfItem(atPath: command.file)
    guard let byteCount = (attributes?[.size] as? NSNumber)?.intValue, byteCount > 0 else {
      throw CommandFailure(.data, "\(command.file): is missing or empty; give a data file")
    }
    for index in ways.indices {
      for _ in 0..<command.rounds {
        let clock = ContinuousClock()
        let start = clock.now
        ways[index].count = try ways[index].read(command.file)
        ways[index].seconds = min(ways[index].seconds, (clock.now - start).seconds)
      }
    }
    if command.result.isJSON {
      let list = ways.map { way in
        JSONValue.members([
          "name": .string(way.name), "count": .integer(way.count),
          "seconds": .number(way.seconds),
          "mb_per_second": .number(Double(byteCount) / way.seconds / 1e6),
        ])
      }
      return Output.write([
        "bench": "read", "file": .string(command.file), "bytes": .integer(byteCount),
        "results": .array(list),
      ])
    }
    Output.write(
      rows: ways.map { way in
        (
          way.name,
          "\(NumberFormat.si(Double(byteCount) / way.seconds))B/s (\(way.count) \(way.meaning))"
        )
      })
  }

  private static func recordCount(_ path: String) throws -> Int {
    let reader = try RecordReader(source: RecordSource(paths: [path]))
    var count = 0
    while try reader.next() != nil { count += 1 }
    return count
  }
}
