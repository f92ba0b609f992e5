import Torch
import XTunerCheckpoint
import XTunerCommands
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// `xtuner bench load`.
enum BenchLoadHandler {
  /// A way to load a file.
  private struct Way {
    let name: String
    let meaning: String
    let load: (String) throws -> Void
    var seconds = Double.infinity
  }

  static func run(_ command: BenchLoadCommand) throws {
    var ways = [
      Way(name: "map", meaning: "open, a tensor for every entry", load: map),
      Way(name: "read", meaning: "map, then read every byte", load: read),
      Way(name: "copy", meaning: "map, then copy into memory of its own", load: copy),
    ]
    let byteCount = try SafetensorsFile(path: command.file).byteCount
    for index in ways.indices {
      for _ in 0..<command.rounds {
        let time = try ContinuousClock().measure { try ways[index].load(command.file) }
        ways[index].seconds = min(ways[index].seconds, time.seconds)
      }
    }
    if command.result.isJSON {
      let list = ways.map { way in
        JSONValue.members([
          "name": .string(way.name), "seconds": .number(way.seconds),
          "gb_per_second": .number(Double(byteCount) / way.seconds / 1e9),
        ])
      }
      return Output.write([
        "bench": "load", "file": .string(command.file), "bytes": .integer(byteCount),
        "results": .array(list),
      ])
    }
    Output.write(
      rows: ways.map { way in
        let rate = NumberFormat.si(Double(byteCount) / way.seconds)
        return (way.name, "\(milliseconds(way.seconds)), \(rate)B/s (\(way.meaning))")
      })
  }

  private static func milliseconds(_ seconds: Double) -> String {
    "\((seconds * 1e5).rounded() / 100) ms"
  }

  private static func map(_ path: String) throws {
    let file = try SafetensorsFile(path: path)
    for name in file.names { _ = try file.tensor(name) }
  }

  private static func read(_ path: String) throws {
    let file = try SafetensorsFile(path: path)
    for name in file.names {
      try file.withBytes(of: name) { bytes in
        // Words of eight bytes, so that memory and not the loop is the limit.
        var sum: UInt64 = 0
        for offset in stride(from: 0, to: bytes.count - 7, by: 8) {
          sum &+= bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        }
        blackHole(sum)
      }
    }
  }

  private static func copy(_ path: String) throws {
    let file = try SafetensorsFile(path: path)
    for name in file.names { _ = try file.tensor(name).cloned() }
  }

  /// Keeps the compiler from removing a result that nobody uses.
  @inline(never)
  private static func blackHole(_ value: UInt64) {}
}
