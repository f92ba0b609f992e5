import Foundation
import Synchronization
import Testing
import Torch

@testable import XTunerLaunch

@Suite struct RankMeetingTests {
  /// What became of a rank.
  enum End: Equatable {
    /// It found this text where rank 0 of its round left it.
    case met(String)
    case failed(String)
  }

  private static let seconds = 2

  private static func store() throws -> Store {
    try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
  }

  /// Lets some ranks of `count` meet, each through a connection of its own.
  ///
  /// Rank 0 leaves `text` under a key that is the same in every round.
  private func meet(
    _ ranks: [Int], of count: Int, at server: Store, text: String
  ) throws -> [Int: End] {
    let ends = Mutex<[Int: End]>([:])
    let group = DispatchGroup()
    for rank in ranks {
      group.enter()
      Thread.detachNewThread {
        let end: End
        do {
          let store = try Store.tcp(
            host: "127.0.0.1", port: server.port, isServer: false, timeout: .seconds(20))
          let own = try RankMeeting(
            rank: rank, count: count, store: store, timeout: .seconds(Self.seconds)
          ).attend()
          if rank == 0 { try own.set("text", Array(text.utf8)) }
          end = .met(String(decoding: try own.get("text", timeout: .seconds(5)), as: UTF8.self))
        } catch {
          end = .failed("\(error)")
        }
        ends.withLock { $0[rank] = end }
        group.leave()
      }
    }
    group.wait()
    return ends.withLock { $0 }
  }

  @Test func ranksFindNothingOfEarlierRounds() throws {
    let server = try Self.store()
    for text in ["first", "second", "third"] {
      let ends = try meet([0, 1, 2], of: 3, at: server, text: text)
      #expect(ends == [0: .met(text), 1: .met(text), 2: .met(text)])
    }
  }

  @Test func thoseThatDidNotComeAreNamedOnAllThatDid() throws {
    let server = try Self.store()
    let ends = try meet([0, 2], of: 4, at: server, text: "first")
    let message = End.failed(
      """
      ranks 1, 3 of 4 did not come within parallel.timeout_seconds (2); look at their logs for the \
      first error
      """)
    #expect(ends == [0: message, 2: message])
    // The ranks that did come have ended, and others take their places.
    let later = try meet([0, 1, 2, 3], of: 4, at: server, text: "second")
    #expect(later.values.allSatisfy { $0 == .met("second") }, "\(later)")
  }

  @Test func withoutRank0TheOthersSaySo() throws {
    let ends = try meet([1], of: 2, at: try Self.store(), text: "")
    #expect(
      ends == [
        1: .failed(
          """
          rank 0 of 2 did not come within parallel.timeout_seconds (2); look at its log for the \
          first error
          """)
      ])
  }

  /// An agent may restart its ranks while those of another one still wait for the first.
  @Test func aRankThatWaitsForARank0ThatEndedJoinsTheNextOne() throws {
    let server = try Self.store()
    // A rank 0 that invited rank 1's first arrival to round 1, and was killed.
    #expect(try server.add(RankMeeting.roundCount, 1) == 1)
    try server.set(RankMeeting.invitation(1, 1), Array("1".utf8))
    let ends = try meet([0, 1], of: 2, at: server, text: "second")
    #expect(ends == [0: .met("second"), 1: .met("second")])
  }
}
