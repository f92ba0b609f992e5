import Foundation
import Synchronization
import XTunerData
import XTunerInput

/// Feeds mutated input to one reader after another, a bounded number of seconds each.
///
///     Mutations list
///     Mutations READER --seed 1 --seconds 60 --folder /tmp/m
///     Mutations READER --seed 1 --case 12345 --folder /tmp/m     one case again
///
/// A case is a function of (reader, seed, number). Before it runs its number is written to
/// `FOLDER/case`, so that scripts/mutations.sh can name the case after a signal. A case that takes
/// longer than `longestCase`, a message that a terminal should not get, and input that is accepted
/// although it says something else than what was read end the program with status 1.
@main struct Mutations {
  static let longestCase = 20.0
  /// Bytes of resident memory; every seed file is smaller than 10 MB.
  static let largestMemory = 3 << 30

  static var readers: [any MutatedReader.Type] {
    [
      SafetensorsReader.self, CheckpointReader.self, TokenCacheReader.self, ModelConfigReader.self,
      TokenizerReader.self, TiktokenReader.self, RecordsReader.self, CompressedReader.self,
      ConfigurationReader.self, ConversationReader.self,
    ]
  }

  static func main() {
    do {
      try run(Array(CommandLine.arguments.dropFirst()))
    } catch {
      FileHandle.standardError.write(Data("error: \(error)\n".utf8))
      exit(1)
    }
  }

  private static func run(_ arguments: [String]) throws {
    guard let name = arguments.first, name != "list" else {
      return print(readers.map { $0.name }.joined(separator: "\n"))
    }
    guard let type = readers.first(where: { $0.name == name }) else {
      throw MutationFailure("no reader \(name); there are \(readers.map { $0.name })")
    }
    func option(_ key: String) -> String? {
      arguments.firstIndex(of: key).flatMap { arguments.dropFirst($0 + 1).first }
    }
    let seed = option("--seed").flatMap(UInt64.init) ?? 1
    let seconds = option("--seconds").flatMap(Double.init) ?? 60
    let only = option("--case").flatMap(UInt64.init)
    guard let folder = option("--folder") else { throw MutationFailure("--folder is missing") }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let reader = try type.init(folder: "\(folder)/\(name)")
    let watch = Watch()
    var counts = (accepted: 0, refused: 0)
    let end = ContinuousClock.now + .seconds(seconds)
    var number = only ?? 0
    repeat {
      try "\(number)".write(toFile: "\(folder)/case", atomically: false, encoding: .utf8)
      watch.begin(number)
      var random = Random(SplitMix64(seed: seed, keys: number))
      do {
        try reader.runCase(&random)
        counts.accepted += 1
      } catch let failure as MutationFailure {
        throw MutationFailure("\(name), seed \(seed), case \(number): \(failure.description)")
      } catch {
        counts.refused += 1
        // As the program shows it.
        let message = ReadableText.message("\(error)")
        if only != nil { print(message) }
        if let fault = faultOfMessage(message) {
          throw MutationFailure("\(name), seed \(seed), case \(number): \(fault): \(message)")
        }
      }
      number += 1
    } while only == nil && ContinuousClock.now < end
    watch.end()
    let memory = peakMemory()
    guard memory < largestMemory else {
      throw MutationFailure("\(name): \(memory) bytes of memory were needed")
    }
    print(
      "\(name): \(counts.accepted + counts.refused) cases, \(counts.refused) refused, "
        + "\(memory >> 20) MiB")
  }

  /// What is wrong with a message for people, nil where it is fit to be shown.
  private static func faultOfMessage(_ message: String) -> String? {
    if message.isEmpty { return "the message is empty" }
    if message.utf8.count > 20_000 { return "the message has \(message.utf8.count) bytes" }
    if message.contains("NSCocoaErrorDomain") { return "the message names NSCocoaErrorDomain" }
    let control = message.unicodeScalars.first {
      $0.properties.generalCategory == .control && $0 != "\n" && $0 != "\t"
    }
    return control.map { "the message holds the control character \($0.value)" }
  }

  private static func peakMemory() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
  }
}

/// Ends the process when one case takes too long.
private final class Watch: Sendable {
  private let current = Mutex<(number: UInt64, start: ContinuousClock.Instant)?>(nil)

  init() {
    Thread.detachNewThread { [self] in
      while true {
        Thread.sleep(forTimeInterval: 0.5)
        guard let (number, start) = current.withLock({ $0 }) else { continue }
        if ContinuousClock.now - start > .seconds(Mutations.longestCase) {
          FileHandle.standardError.write(
            Data("error: case \(number) takes over \(Mutations.longestCase) s\n".utf8))
          _exit(1)
        }
      }
    }
  }

  func begin(_ number: UInt64) { current.withLock { $0 = (number, .now) } }

  func end() { current.withLock { $0 = nil } }
}

/// A reader that takes mutated input.
protocol MutatedReader {
  /// What the command line calls it.
  static var name: String { get }

  /// Makes valid input in `folder`, which belongs to the reader.
  init(folder: String) throws

  /// Mutates the input and reads it; throws `MutationFailure` for a wrong answer, and any other
  /// error where the input is refused.
  func runCase(_ random: inout Random) throws
}

/// A wrong answer of a reader.
struct MutationFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
