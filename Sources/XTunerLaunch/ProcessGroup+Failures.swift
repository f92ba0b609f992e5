import Torch
import XTunerRun

extension ProcessGroup {
  /// Characters of a rank's message that the others are told.
  private static let toldCount = 600
  /// Ranks whose messages are shown.
  private static let shownCount = 3

  /// Runs `body` on this rank and waits for the others; where it failed on any of them, all throw.
  ///
  /// Everything that one rank does while others wait goes through here, or its failure would cost them
  /// the whole time-out and the cause. `body` must not use a group, unless it does so on all ranks
  /// whatever happens.
  ///
  /// - Parameters:
  ///   - task: What is done, for the message of those that did not fail themselves.
  ///   - body: This rank's part; nothing on ranks that only wait.
  /// - Returns: What `body` gave on this rank.
  /// - Throws: What `body` threw; on the other ranks ``TrainingError`` of communication that names
  ///   the ranks that failed, with their messages; `CommunicationError` where a rank did not come.
  package func agree<Value>(_ task: String, _ body: () throws -> Value) throws -> Value {
    let result = Result { try body() }
    let failures = try failures(of: result, task)
    let value = try result.get()
    if let failures { throw TrainingError(.communication, "\(task): \(failures)") }
    return value
  }

  /// What went wrong on the ranks, which all call this together after they did the same task.
  ///
  /// One exchange where nothing went wrong, two otherwise: the others then know each cause.
  ///
  /// - Parameters:
  ///   - result: What this rank's part of the task came to.
  ///   - task: What messages name where the exchange itself fails.
  /// - Returns: The ranks that failed, each with its message; nil where none did.
  /// - Throws: `CommunicationError` where a rank did not come.
  func failures<Value>(
    of result: Result<Value, any Error>, _ task: String
  ) throws(CommunicationError) -> String? {
    var cause: [UInt8] = []
    if case .failure(let error) = result {
      cause = Array("\(error)".prefix(Self.toldCount).utf8)
    }
    guard size > 1 else { return Self.text(cause.isEmpty ? [] : [(ranks[0], cause)]) }
    let causes = try gatherBytes(cause, label: task)
    return Self.text(
      ranks.indices.filter { !causes[$0].isEmpty }.map { (ranks[$0], causes[$0]) })
  }

  /// Every rank's text, in the order of places.
  func gatherText(_ text: String, label: String) throws(CommunicationError) -> [String] {
    try gatherBytes(Array(text.utf8), label: label).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Every rank's bytes; nothing more is exchanged than how many there are where nobody has any.
  private func gatherBytes(
    _ bytes: [UInt8], label: String
  ) throws(CommunicationError) -> [[UInt8]] {
    let counts = try gatherValues([Double(bytes.count)], label: label).map { Int($0[0]) }
    guard let width = counts.max(), width > 0 else { return counts.map { _ in [] } }
    let padded = bytes.map(Double.init) + Array(repeating: 0, count: width - bytes.count)
    let all = try gatherValues(padded, label: label)
    return zip(all, counts).map { values, count in values.prefix(count).map { UInt8($0) } }
  }

  /// Ranks with the same message are named together.
  private static func text(_ causes: [(rank: Int, text: [UInt8])]) -> String? {
    guard !causes.isEmpty else { return nil }
    var groups: [(ranks: [Int], text: [UInt8])] = []
    for (rank, text) in causes {
      if let index = groups.firstIndex(where: { $0.text == text }) {
        groups[index].ranks.append(rank)
      } else {
        groups.append(([rank], text))
      }
    }
    let shown = groups.prefix(shownCount).map { group in
      "\(Self.name(group.ranks)) failed: \(String(decoding: group.text, as: UTF8.self))"
    }
    let rest = groups.count - shown.count
    return shown.joined(separator: "; ") + (rest > 0 ? "; and \(rest) other messages" : "")
  }

  /// For messages: `rank 2`, `ranks 0, 2`.
  static func name(_ ranks: [Int]) -> String {
    let shown = ranks.prefix(8).map(String.init).joined(separator: ", ")
    let rest = ranks.count > 8 ? " and \(ranks.count - 8) more" : ""
    return "\(ranks.count == 1 ? "rank" : "ranks") \(shown)\(rest)"
  }
}
