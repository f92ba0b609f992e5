import Foundation
import Torch
import XTunerRun

/// How ranks that start at a store which has seen others before find out which of them belong together.
///
/// The agents of torchrun keep their store over restarts. What earlier ranks left in it must not be
/// found, so all keys of a round of ranks begin with a number that no other round has. An agent's own
/// count of restarts is no such number: what one agent counts as a restart is a change of membership,
/// which does not count, for another. So rank 0 draws the number, and invites every other rank by the
/// number of that rank's arrival: a rank that has ended never answers, and one that starts anew has
/// another. Invitations are repeated until rank 0 says that the round begins; one of a later rank 0
/// replaces that of an earlier one that has ended before.
struct RankMeeting {
  private static let prefix = "xtuner/rounds"
  /// How long ranks wait for rank 0's word beyond the time-out, which began at another time there.
  private static let grace: Duration = .seconds(2)
  /// Seconds between two looks at the store, at first and at most.
  private static let pauses = (first: 0.005, longest: 0.1)

  let rank: Int
  let count: Int
  let store: Store
  let timeout: Duration

  /// Returns on all ranks, or throws on all that came.
  ///
  /// - Returns: The store, with a prefix that is this round's.
  /// - Throws: `TrainingError` that names the ranks that did not come; `CommunicationError` where
  ///   the store went away.
  func attend() throws -> Store {
    let round = rank == 0 ? try lead() : try follow()
    return store.withPrefix("\(Self.prefix)/\(round)/")
  }

  // MARK: Rank 0

  private func lead() throws -> Int {
    let round = try store.add(Self.roundCount, 1)
    let deadline = ContinuousClock.now + timeout
    var invited = Array(repeating: 0, count: count)
    let others = Array(1..<count)
    var missing = others
    var pause = Self.pauses.first
    while true {
      for other in others {
        let arrival = try store.add(Self.arrivals(other), 0)
        guard arrival > invited[other] else { continue }
        try store.set(Self.invitation(other, arrival), Array("\(round)".utf8))
        invited[other] = arrival
      }
      missing = try others.filter { try number(Self.answer(round, $0)) != invited[$0] }
      guard !missing.isEmpty else { break }
      guard ContinuousClock.now < deadline else { break }
      Thread.sleep(forTimeInterval: pause)
      pause = min(2 * pause, Self.pauses.longest)
    }
    let refusal =
      missing.isEmpty
      ? "" : ConfigurationAgreement.absence(of: missing, among: count, within: timeout)
    try store.set(Self.word(round), Array(refusal.utf8))
    if !refusal.isEmpty { throw TrainingError(.communication, refusal) }
    return round
  }

  // MARK: Other ranks

  private func follow() throws -> Int {
    let arrival = try store.add(Self.arrivals(rank), 1)
    let deadline = ContinuousClock.now + timeout + Self.grace
    var accepted = 0
    var pause = Self.pauses.first
    while ContinuousClock.now < deadline {
      if let round = try number(Self.invitation(rank, arrival)), round != accepted {
        try store.set(Self.answer(round, rank), Array("\(arrival)".utf8))
        accepted = round
      }
      if accepted > 0, try store.contains(Self.word(accepted)) {
        let word = String(
          decoding: try store.get(Self.word(accepted), timeout: Self.grace), as: UTF8.self)
        guard word.isEmpty else { throw TrainingError(.communication, word) }
        return accepted
      }
      Thread.sleep(forTimeInterval: pause)
      pause = min(2 * pause, Self.pauses.longest)
    }
    throw TrainingError(
      .communication, ConfigurationAgreement.absence(of: [0], among: count, within: timeout))
  }

  // MARK: Keys

  static let roundCount = "\(prefix)/count"
  private static func arrivals(_ rank: Int) -> String { "\(prefix)/arrivals/\(rank)" }
  static func invitation(_ rank: Int, _ arrival: Int) -> String {
    "\(prefix)/invitations/\(rank)/\(arrival)"
  }
  private static func answer(_ round: Int, _ rank: Int) -> String {
    "\(prefix)/\(round)/answers/\(rank)"
  }
  private static func word(_ round: Int) -> String { "\(prefix)/\(round)/word" }

  /// The number of a key that may have no value yet.
  private func number(_ key: String) throws(CommunicationError) -> Int? {
    guard try store.contains(key) else { return nil }
    return Int(String(decoding: try store.get(key, timeout: Self.grace), as: UTF8.self))
  }
}
