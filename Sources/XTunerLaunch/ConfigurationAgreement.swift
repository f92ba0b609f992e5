import Foundation
import Torch
import XTunerConfiguration
import XTunerRun
import XTunerText

/// How ranks find out, before any process group is made, that all are there with one configuration.
///
/// Rank 0 leaves its configuration in the store; every other rank leaves what differs in its own, and
/// reads what rank 0 makes of it. So all ranks end with the same sentence, and none waits for one
/// that has ended.
struct ConfigurationAgreement {
  /// How long rank 0, which may host the store, stays for the others to read a refusal, and how
  /// long those wait beyond the time-out for its word.
  private static let grace: Duration = .seconds(2)
  private static let prefix = "xtuner/configuration"

  let rank: Int
  let count: Int
  let store: Store
  let timeout: Duration

  /// Returns on all ranks, or throws on all.
  ///
  /// - Throws: `TrainingError` that names every difference, or the ranks that did not come;
  ///   `CommunicationError` where the store went away.
  func check(_ configuration: RunConfiguration) throws {
    let refusal = rank == 0 ? try judge(configuration) : try ask(configuration)
    if let refusal { throw TrainingError(refusal.exitCode, refusal.message) }
  }

  /// Why the run cannot begin, as it goes through the store.
  private struct Refusal: Codable {
    var code: Int32
    var message: String

    var exitCode: RunExitCode { RunExitCode(rawValue: code) ?? .failure }
  }

  // MARK: Rank 0

  private func judge(_ configuration: RunConfiguration) throws -> Refusal? {
    let deadline = ContinuousClock.now + timeout
    try store.set(Self.prefix, Array(configuration.yaml(commented: false).utf8))
    var missing: [Int] = []
    var different: [(rank: Int, text: String)] = []
    for other in 1..<count {
      let key = Self.differenceKey(other)
      let remaining = max(.zero, ContinuousClock.now.duration(to: deadline))
      do throws(CommunicationError) {
        let text = String(decoding: try store.get(key, timeout: remaining), as: UTF8.self)
        if !text.isEmpty { different.append((other, text)) }
      } catch {
        guard error.code == .timeout else { throw error }
        missing.append(other)
      }
    }
    let refusal = refusal(missing: missing, different: different)
    try store.set(
      "\(Self.prefix)/refusal", refusal.map { Array(try JSONEncoder().encode($0)) } ?? [])
    if refusal != nil { try waitForReaders(count - 1 - missing.count) }
    return refusal
  }

  private func refusal(missing: [Int], different: [(rank: Int, text: String)]) -> Refusal? {
    if let first = different.first {
      let others = different.count - 1
      let more = others == 0 ? "" : " (as have \(others) more)"
      return Refusal(
        code: RunExitCode.usage.rawValue,
        message: """
          rank \(first.rank) has another configuration than rank 0\(more): \(first.text); start all \
          ranks with the same files and --set options
          """)
    }
    guard !missing.isEmpty else { return nil }
    return Refusal(
      code: RunExitCode.communication.rawValue,
      message: Self.absence(of: missing, among: count, within: timeout))
  }

  /// Which ranks did not come, in words.
  static func absence(of missing: [Int], among count: Int, within timeout: Duration) -> String {
    let names = missing.prefix(8).map(String.init).joined(separator: ", ")
    let more = missing.count > 8 ? " and \(missing.count - 8) more" : ""
    return """
      \(missing.count == 1 ? "rank" : "ranks") \(names)\(more) of \(count) did not come within \
      parallel.timeout_seconds (\(timeout.components.seconds)); look at \
      \(missing.count == 1 ? "its log" : "their logs") for the first error
      """
  }

  /// A rank that hosts the store takes it along when it ends.
  private func waitForReaders(_ readers: Int) throws {
    let deadline = ContinuousClock.now + Self.grace
    while try store.add("\(Self.prefix)/readers", 0) < readers, ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.01)
    }
  }

  // MARK: Other ranks

  private func ask(_ configuration: RunConfiguration) throws -> Refusal? {
    let text = try wordOfRank0(Self.prefix, timeout)
    try store.set(
      Self.differenceKey(rank), Array(try differences(configuration, yaml: text).utf8))
    let answer = try wordOfRank0("\(Self.prefix)/refusal", timeout + Self.grace)
    guard !answer.isEmpty else { return nil }
    let refusal = try JSONDecoder().decode(Refusal.self, from: Data(answer))
    _ = try store.add("\(Self.prefix)/readers", 1)
    return refusal
  }

  private func wordOfRank0(_ key: String, _ timeout: Duration) throws -> [UInt8] {
    do throws(CommunicationError) {
      return try store.get(key, timeout: timeout)
    } catch {
      guard error.code == .timeout else { throw error }
      throw TrainingError(
        .communication, Self.absence(of: [0], among: count, within: timeout))
    }
  }

  private func differences(_ configuration: RunConfiguration, yaml: [UInt8]) throws -> String {
    let text = String(decoding: yaml, as: UTF8.self)
    guard !text.isExactly(configuration.yaml(commented: false)) else { return "" }
    let first = try RunConfiguration.parse(text, file: "configuration of rank 0")
    return configuration.differences(from: first)
      .map { difference in
        let advice =
          difference.keyPath == "run.device"
          ? " (auto is what a machine has; all ranks need the same kind of device)" : ""
        return
          "\(difference.keyPath) is \(difference.new), on rank 0 it is \(difference.old)\(advice)"
      }.joined(separator: "; ")
  }

  private static func differenceKey(_ rank: Int) -> String { "\(prefix)/differences/\(rank)" }
}
