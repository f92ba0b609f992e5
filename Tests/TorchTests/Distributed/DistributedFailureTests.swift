import Foundation
import Testing
import Torch

/// What the ranks that are left say when one is missing.
@Suite struct DistributedFailureTests {
  private static let limit = Duration.seconds(1)

  private func group(_ name: String, _ count: Int, _ rank: Int, _ store: Store) throws
    -> ProcessGroup
  {
    try ProcessGroup(
      name: name, ranks: Array(0..<count), rank: rank, store: store, timeout: Self.limit)
  }

  @Test func rankThatStaysAwayIsNamed() throws {
    // A group of three for each operation, side by side; the last rank of each stays away.
    let operations = ["all-gather", "reduce-scatter", "all-reduce", "all-to-all", "broadcast"]
    let results = try runRanks(operations.count * 3) { rank, store in
      let first = rank / 3 * 3
      let group = try ProcessGroup(
        name: "expert_shard", ranks: Array(first..<first + 3), rank: rank, store: store,
        timeout: Self.limit)
      guard group.index != 2 else {
        // Connected, and does something else until the others have given up.
        _ = try store.get("done/\(first)", timeout: .seconds(30))
        _ = try store.get("done/\(first + 1)", timeout: .seconds(30))
        return
      }
      defer { try? store.set("done/\(rank)", []) }
      let small = Tensor.ones([5])
      let large = Tensor.ones([15])
      let label = "layers.3.experts"
      let counts = [5, 5, 5]
      let work =
        switch operations[rank / 3] {
        case "all-gather": try group.allGather(into: large, from: small, label: label)
        case "reduce-scatter": try group.reduceScatter(into: small, from: large, label: label)
        case "all-reduce": try group.allReduce(large, label: label)
        case "broadcast": try group.broadcast(large, from: 2, label: label)
        default:
          try group.allToAll(
            into: large, from: Tensor.zeros([15]), outputCounts: counts, inputCounts: counts,
            label: label)
        }
      try work.wait()
    }
    for (place, operation) in operations.enumerated() {
      let first = place * 3
      let errors = try (first..<first + 2).map {
        try #require(results[$0].communicationError, "rank \($0)")
      }
      for error in errors {
        #expect(error.missingRanks == [first + 2], "\(error)")
        #expect(error.operation == operation)
        #expect(error.label == "layers.3.experts")
        #expect(error.group == "expert_shard")
        let ranks = "ranks \(first), \(first + 1), \(first + 2)"
        let start = "\(operation) of layers.3.experts in group expert_shard (\(ranks)) failed after"
        let end = "rank \(first + 2) did not take part; look at its log for the first error"
        #expect(error.message.hasPrefix(start), "\(error)")
        #expect(error.message.hasSuffix(end), "\(error)")
      }
      #expect(errors.contains { $0.code == .timeout }, "\(errors)")
    }
  }

  /// A rank that fails between operations has a cause that no connection can tell.
  @Test func rankThatLeavesWithAReasonIsQuoted() throws {
    let results = try runRanks(2) { rank, store in
      let group = try ProcessGroup(
        name: "world", ranks: [0, 1], rank: rank, store: store, timeout: .seconds(30))
      if rank == 1 {
        #expect(group.leave(because: "rank 1 failed: train.jsonl: cannot be read"))
        return
      }
      try group.allReduce(Tensor.ones([5]), label: "rows").wait()
    }
    let error = try #require(results[0].communicationError)
    #expect(error.missingRanks == [] && error.code == .failed)
    #expect(
      error.message.hasSuffix("s: rank 1 failed: train.jsonl: cannot be read"), "\(error.message)")
  }

  @Test func rankThatLeavesIsNamedBeforeTheTimeOut() throws {
    let results = try runRanks(3) { rank, store in
      let group = try ProcessGroup(
        name: "world", ranks: [0, 1, 2], rank: rank, store: store, timeout: .seconds(60))
      guard rank != 1 else { return }
      try group.allReduce(Tensor.ones([1009]), label: "layers.0").wait()
    }
    for rank in [0, 2] {
      let error = try #require(results[rank].communicationError, "rank \(rank)")
      #expect(error.code == .peerLost)
      #expect(error.missingRanks == [1], "\(error)")
    }
  }

  @Test func rankThatNeverComesIsNamed() throws {
    let results = try runRanks(2) { rank, store in
      _ = try group("world", 4, rank * 2, store)
    }
    for result in results {
      let error = try #require(result.communicationError)
      #expect(error.code == .timeout)
      #expect(error.missingRanks == [1, 3])
      #expect(
        error.message == """
          group world (ranks 0, 1, 2, 3) was not complete after 1 s: ranks 1, 3 did not come; \
          look at their logs for the first error
          """)
    }
  }

  @Test func brokenGroupSaysSoAgain() throws {
    let results = try runRanks(2) { rank, store in
      let group = try group("world", 2, rank, store)
      guard rank == 0 else {
        _ = try? store.get("never", timeout: .seconds(4))
        return [String]()
      }
      var messages: [String] = []
      let start = ContinuousClock.now
      let works = try (0..<3).map { try group.allReduce(Tensor.ones([2]), label: "layers.\($0)") }
      for work in works {
        do { try work.wait() } catch { messages.append("\(error)") }
      }
      do { try group.barrier(label: "after") } catch { messages.append("\(error)") }
      #expect(start.duration(to: .now) < .seconds(6))
      return messages
    }
    let messages = try results[0].get()
    #expect(messages.count == 4)
    #expect(Set(messages).count == 1)
    #expect(messages.first?.contains("layers.0") == true)
  }

  @Test func lostStoreIsNamed() throws {
    // Rank 1's process hosts the store and both go.
    let port = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20)).port
    let errors = try runRanks(2) { rank, _ in
      let own = try Store.tcp(
        host: "127.0.0.1", port: port, isServer: rank == 1, timeout: .seconds(20))
      let group = try ProcessGroup(
        name: "world", ranks: [0, 1], rank: rank, store: own, timeout: .seconds(30))
      guard rank == 0 else { return }
      try group.allReduce(Tensor.ones([3]), label: "layers.0").wait()
    }
    let error = try #require(errors[0].communicationError)
    #expect(error.code == .peerLost)
    #expect(error.message.contains("the process that hosts the store is gone"), "\(error)")
  }

  @Test func portInUseIsNamed() throws {
    let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    let error = #expect(throws: CommunicationError.self) {
      _ = try Store.tcp(
        host: "127.0.0.1", port: store.port, isServer: true, timeout: .seconds(20))
    }
    #expect(error?.code == .portInUse)
    #expect(error?.message.contains("port \(store.port) is in use") == true, "\(error!)")
  }

  @Test func masterThatDoesNotAnswerIsNamed() throws {
    // A port that was free a moment ago.
    let port = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20)).port
    let start = ContinuousClock.now
    let error = #expect(throws: CommunicationError.self) {
      _ = try Store.tcp(host: "127.0.0.1", port: port, isServer: false, timeout: .seconds(1))
    }
    #expect(error?.code == .unreachable)
    #expect(error?.message.contains("127.0.0.1:\(port) within 1 s") == true, "\(error!)")
    #expect(start.duration(to: .now) < .seconds(10))
  }
}
