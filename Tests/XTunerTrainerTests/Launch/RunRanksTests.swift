import Foundation
import Synchronization
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerLaunch
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

  @Test func ranksWithDifferentModelsOfDevicesAreNamed() throws {
    let notes = Mutex<[String?]>([])
    for models in [["NVIDIA H200", "NVIDIA H200"], ["NVIDIA H200", "NVIDIA A100"]] {
      try runTwoRanks(deviceModels: models) { ranks in
        notes.withLock { $0.append(ranks.deviceNote) }
      }
    }
    let note = """
      ranks have different devices (rank 1: NVIDIA A100; rank 0: NVIDIA H200): all wait for the \
      slowest, and what fits is what fits the smallest
      """
    #expect(notes.withLock { $0 } == [nil, nil, note, note])
  }

  /// `auto` is the test device on one rank and the CPU on the other.
  @Test func ranksWithDifferentKindsOfDevicesAreRefused() throws {
    let failures = try failuresOfTwoRanks(deviceModels: ["cpu", "npu"], kinds: [.cpu, .npu]) { _ in
    }
    let message = """
      rank 1 has another configuration than rank 0: run.device is npu, on rank 0 it is cpu (auto is \
      what a machine has; all ranks need the same kind of device); start all ranks with the same \
      files and --set options
      """
    #expect(Set(failures) == ["rank 0: \(message)", "rank 1: \(message)"])
  }

  private func runTwoRanks(
    deviceModels: [String] = ["cpu", "cpu"], _ body: @escaping @Sendable (RunRanks) throws -> Void
  ) throws {
    #expect(try failuresOfTwoRanks(deviceModels: deviceModels, body) == [])
  }

  /// Runs `body` as both ranks of a machine; what they fail with.
  private func failuresOfTwoRanks(
    deviceModels: [String], kinds: [RunOptions.DeviceChoice] = [.cpu, .cpu],
    _ body: @escaping @Sendable (RunRanks) throws -> Void
  ) throws -> [String] {
    let server = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let given = try tiny.configuration(
      run: "a", ["parallel.timeout_seconds=\(Self.timeout)"])
    let model = try given.modelConfiguration()
    let failures = Mutex<[String]>([])
    let group = DispatchGroup()
    for rank in 0..<2 {
      group.enter()
      let environment = RankEnvironment(
        rank: rank, worldSize: 2, localRank: rank, localWorldSize: 2,
        masterAddress: "127.0.0.1", masterPort: server.port, usesAgentStore: true,
        launcher: .torchrun)
      var own = given
      own.run.device = kinds[rank]
      let configuration = own
      Thread.detachNewThread {
        do {
          try body(
            try RunRanks(
              environment, configuration, model: model, deviceModel: deviceModels[rank]))
        } catch {
          failures.withLock { $0.append("rank \(rank): \(error)") }
        }
        group.leave()
      }
    }
    group.wait()
    return failures.withLock { $0 }
  }
}
