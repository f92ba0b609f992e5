import Foundation
import Synchronization

/// What the ranks of a group tell each other, through the store, when an operation fails.
///
/// The rank that went away can say nothing. So each rank that is left says that it is, and the ones
/// that did not within a grace period are the ones that are missing.
final class FailureBoard: Sendable {
  /// Whom a failure left without a word.
  enum Silence: Sendable {
    /// All are there; where one of them left before, why.
    case nobody(because: String?)
    case places([Int])
    case storeIsGone
  }

  /// How often a rank that waits looks whether another one gave up.
  static let pollMilliseconds: Int64 = 500
  /// How long others have to say that they are there: several times what they take to look.
  static let grace: Duration = .seconds(2)

  let store: Store
  /// The group's own part of the store.
  let prefix: String
  private let index: Int
  private let size: Int
  /// A question to the store that has no answer yet.
  private let inquiry = Mutex<Answer<Result<String?, CommunicationError>>?>(nil)

  private init(store: Store, prefix: String, index: Int, size: Int) {
    self.store = store
    self.prefix = prefix
    self.index = index
    self.size = size
  }

  /// Waits until all ranks of the group are there.
  static func join(
    name: String, ranks: [Int], index: Int, _ store: Store, _ timeout: Duration
  ) throws(CommunicationError) -> FailureBoard {
    let deadline = ContinuousClock.now + timeout
    let group = "group/\(name)/\(digest(of: ranks))"
    // A store may see a group of the same ranks again: its second has keys of its own.
    let generation = try store.add("\(group)/generation/\(index)", 1)
    let board = FailureBoard(
      store: store, prefix: "\(group)/\(generation)", index: index, size: ranks.count)
    try store.set(board.key("joined", index), [])
    for place in ranks.indices where place != index {
      let remaining = ContinuousClock.now.duration(to: deadline)
      if try store.wait(for: board.key("joined", place), timeout: remaining) { continue }
      var missing: [Int] = []
      for place in ranks.indices where try !store.contains(board.key("joined", place)) {
        missing.append(ranks[place])
      }
      throw CommunicationError(
        code: .timeout, operation: "connect", label: "", group: name, missingRanks: missing,
        message: """
          group \(name) (\(named(ranks: ranks))) was not complete after \(timeout.inSeconds): \
          \(named(ranks: missing)) did not come; look at \(missing.count == 1 ? "its log" : "their logs") \
          for the first error
          """)
    }
    return board
  }

  /// Why another rank gave up, or nil; nil as well while the store does not answer.
  ///
  /// Asks on a thread of its own: a store whose host stands still keeps who asks it for ever, and this
  /// rank has a time-out to keep.
  func othersFailure() throws(CommunicationError) -> String? {
    let answer = inquiry.withLock { inquiry in
      if let inquiry { return inquiry }
      let answer = Answer<Result<String?, CommunicationError>>()
      Thread.detachNewThread {
        answer.set(Result { () throws(CommunicationError) in try self.readOthersFailure() })
      }
      inquiry = answer
      return answer
    }
    guard let result = answer.wait(for: .milliseconds(Self.pollMilliseconds)) else { return nil }
    inquiry.withLock { $0 = nil }
    return try result.get()
  }

  private func readOthersFailure() throws(CommunicationError) -> String? {
    guard try store.contains("\(prefix)/failed") else { return nil }
    let cause = try store.get("\(prefix)/failed", timeout: Self.grace)
    return String(decoding: cause, as: UTF8.self)
  }

  /// Says that this rank is there and gave up, and finds who does not say so within the grace period.
  ///
  /// Bounded even where the store's host stands still.
  func report(_ operation: Operation, cause: String) -> Silence {
    let answer = Answer<Silence>()
    Thread.detachNewThread {
      do throws(CommunicationError) {
        let silent = try self.silentPlaces(operation, cause)
        let reason = silent.isEmpty ? try self.reasonToLeave() : nil
        answer.set(silent.isEmpty ? .nobody(because: reason) : .places(silent))
      } catch {
        answer.set(.storeIsGone)
      }
    }
    return answer.wait(for: Self.grace * 2) ?? .storeIsGone
  }

  private func silentPlaces(_ operation: Operation, _ cause: String) throws(CommunicationError)
    -> [Int]
  {
    let deadline = ContinuousClock.now + Self.grace
    try say("\(operation.number)", cause)
    var silent = try stillSilent(of: (0..<size).filter { $0 != index })
    while !silent.isEmpty && ContinuousClock.now < deadline {
      Thread.sleep(forTimeInterval: 0.05)
      do throws(CommunicationError) {
        silent = try stillSilent(of: silent)
      } catch {
        // The store's host may be among the first that have waited long enough, and end: then all
        // had the time to say that they are there. Earlier, it is the one that was lost.
        if ContinuousClock.now < deadline - Self.grace / 2 { throw error }
        break
      }
    }
    return silent
  }

  /// Says that this rank is there and gives up, without asking who else is; nobody waits for that.
  func tell(cause: String) {
    Thread.detachNewThread { try? self.say("none", cause) }
  }

  /// Says why this rank takes no more part though no operation failed, so that the others neither wait
  /// for it nor take it for lost; false where the store does not answer within the grace period.
  func leave(because cause: String) -> Bool {
    let answer = Answer<Bool>()
    Thread.detachNewThread {
      do throws(CommunicationError) {
        if try !self.store.contains("\(self.prefix)/left") {
          try self.store.set("\(self.prefix)/left", Array(cause.utf8))
        }
        try self.say("none", cause)
        answer.set(true)
      } catch {
        answer.set(false)
      }
    }
    return answer.wait(for: Self.grace) ?? false
  }

  private func reasonToLeave() throws(CommunicationError) -> String? {
    guard try store.contains("\(prefix)/left") else { return nil }
    let cause = try store.get("\(prefix)/left", timeout: Self.grace)
    return String(decoding: cause, as: UTF8.self)
  }

  private func say(_ operation: String, _ cause: String) throws(CommunicationError) {
    try store.set(key("failed", index), Array(operation.utf8))
    if try !store.contains("\(prefix)/failed") {
      try store.set("\(prefix)/failed", Array(cause.utf8))
    }
  }

  private func stillSilent(of places: [Int]) throws(CommunicationError) -> [Int] {
    var silent: [Int] = []
    for place in places where try !store.contains(key("failed", place)) { silent.append(place) }
    return silent
  }

  private func key(_ kind: String, _ place: Int) -> String { "\(prefix)/\(kind)/\(place)" }

  /// FNV-1a: groups of one name and other ranks have other keys.
  private static func digest(of ranks: [Int]) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for rank in ranks { hash = (hash ^ UInt64(rank)) &* 0x100_0000_01b3 }
    return String(hash, radix: 16)
  }
}
