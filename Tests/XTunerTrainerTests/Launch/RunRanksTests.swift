import Foundation
import Synchronization
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerTrainer

@Suite struct RunRanksTests {
  private static let timeout = 2

  @Test func aRankMayPrepareForLongerThanTheTimeout() throws {
    let order = Mutex<[Int]>([])
    try runTwoRanks { ranks in
      try ranks.oneFirst("prepare") {
        if ranks.rank == 0 { Thread.sleep(forTimeInterval: 1.75 * Double(Self.timeout)) }
        order.withLock { $0.append(ranks.rank) }
      }
    }
    #expect(order.withLock { $0 } == [0, 1])
  }

  @Test(arguments: [0, 1])
  func theOthersAreToldWhatFailed(rank: Int) throws {
    let messages = Mutex<[Int: String]>([:])
    try runTwoRanks { ranks in
      do {
        try ranks.oneFirst("prepare") {
          if ranks.rank == rank { throw TrainingError(.data, "no data") }
        }
      } catch {
        messages.withLock { $0[ranks.rank] = "\(error)" }
      }
    }
    #expect(
      messages.withLock { $0 } == [
        rank: "no data", 1 - rank: "prepare: rank \(rank) failed: no data",
      ])
  }

  /// Runs `body` as both ranks of a machine.
  private func runTwoRanks(_ body: @escaping @Sendable (RunRanks) throws -> Void) throws {
    let server = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let configuration = try tiny.configuration(
      run: "a", ["parallel.timeout_seconds=\(Self.timeout)"])
    let model = try configuration.modelConfiguration()
    let failures = Mutex<[String]>([])
    let group = DispatchGroup()
    for rank in 0..<2 {
      group.enter()
      let environment = RankEnvironment(
        rank: rank, worldSize: 2, localRank: rank, localWorldSize: 2,
        masterAddress: "127.0.0.1", masterPort: server.port, usesAgentStore: true,
        launcher: .torchrun)
      Thread.detachNewThread {
        do {
          try body(try RunRanks(environment, configuration, model: model))
        } catch {
          failures.withLock { $0.append("rank \(rank): \(error)") }
        }
        group.leave()
      }
    }
    group.wait()
    #expect(failures.withLock { $0 } == [])
  }
}
