import Foundation
import Synchronization
import Testing
import Torch

/// Groups beside each other, work under way, and groups of one.
@Suite struct DistributedGroupTests {
  @Test func groupsOfOneProcessWorkAtOnce() throws {
    // Two pairs and the world, each pair's group on a thread of its own beside the world's.
    let results = try runRanks(4) { rank, store in
      let pair = rank < 2 ? [0, 1] : [2, 3]
      let limit = Duration.seconds(20)
      let world = try ProcessGroup(
        name: "world", ranks: [0, 1, 2, 3], rank: rank, store: store, timeout: limit)
      let sums = Mutex<[Float]>([])
      let ended = DispatchSemaphore(value: 0)
      let thread = Thread {
        defer { ended.signal() }
        do {
          let group = try ProcessGroup(
            name: "pair", ranks: pair, rank: rank, store: store, timeout: limit)
          for step in 0..<20 {
            let tensor = Tensor([Float(rank + step)])
            try group.allReduce(tensor, label: "step \(step)").wait()
            sums.withLock { $0.append(tensor.floats()[0]) }
          }
        } catch { Issue.record(error) }
      }
      thread.start()
      var total: Float = 0
      for step in 0..<20 {
        let tensor = Tensor([Float(rank * step)])
        try world.allReduce(tensor, label: "step \(step)").wait()
        total += tensor.floats()[0]
      }
      ended.wait()
      return (total, sums.withLock { $0 })
    }
    for (rank, result) in results.enumerated() {
      let (total, sums) = try result.get()
      #expect(total == 6 * 190)
      let expected = (0..<20).map { step in Float((rank < 2 ? 1 : 5) + 2 * step) }
      #expect(sums == expected, "rank \(rank)")
    }
  }

  @Test func operationsMayBeWaitedForInAnyOrder() throws {
    let results = try runGroup(3) { group in
      let tensors = (0..<7).map { Tensor([Float(group.index * 10 + $0)]) }
      let works = try tensors.map { try group.allReduce($0, label: "x") }
      for work in works.reversed() { try work.wait() }
      return tensors.map { $0.floats()[0] }
    }
    let expected = (0..<7).map { Float(30 + 3 * $0) }
    #expect(results == [expected, expected, expected])
  }

  @Test func groupOfTheSameNameComesAgain() throws {
    let results = try runRanks(2) { rank, store in
      try (0..<3).map { round in
        let group = try ProcessGroup(
          name: "again", ranks: [0, 1], rank: rank, store: store, timeout: .seconds(20))
        return try group.gatherValues([Double(rank + round)], label: "x")
      }
    }
    for result in results { #expect(try result.get() == [[[0], [1]], [[1], [2]], [[2], [3]]]) }
  }

  @Test func callerGoesOnWhileOthersAreLate() throws {
    let passed = try runGroup(2) { group in
      let tensor = Tensor([1 as Float])
      guard group.index == 0 else {
        Thread.sleep(forTimeInterval: 0.3)
        try group.allReduce(tensor, label: "x").wait()
        return true
      }
      let start = ContinuousClock.now
      let work = try group.allReduce(tensor, label: "x")
      let wasDone = work.isDone
      let issuing = start.duration(to: .now)
      try work.wait()
      return !wasDone && issuing < .milliseconds(200) && work.isDone && tensor.floats() == [2]
    }
    #expect(passed == [true, true])
  }

  @Test(arguments: [1, 2])
  func simulatedLatencyHoldsBackWork(count: Int) throws {
    let latency = Duration.milliseconds(150)
    let times = try runGroup(count) { group in
      group.simulatedLatency = latency
      let start = ContinuousClock.now
      let works = try (0..<3).map { _ in try group.allReduce(Tensor([1 as Float]), label: "x") }
      let wasDone = works[0].isDone
      for work in works { try work.wait() }
      return (wasDone, start.duration(to: .now))
    }
    for (wasDone, time) in times {
      #expect(!wasDone)
      #expect(time >= latency && time < latency * 2, "latencies pass side by side, took \(time)")
    }
  }

  @Test func groupOfOneCopies() throws {
    let group = ProcessGroup.single(name: "alone", rank: 5)
    #expect(group.ranks == [5] && group.index == 0 && group.size == 1)
    let input = Tensor([1, 2, 3] as [Float])
    let gathered = Tensor.zeros([3])
    try group.allGather(into: gathered, from: input, label: "x").wait()
    let sum = Tensor.zeros([3])
    try group.reduceScatter(into: sum, from: input, label: "x").wait()
    let rows = Tensor.zeros([3])
    try group.allToAll(
      into: rows, from: input, outputCounts: [3], inputCounts: [3], label: "x"
    ).wait()
    for copy in [gathered, sum, rows] { #expect(copy.floats() == [1, 2, 3]) }
    try group.allGather(into: input, from: input, label: "x").wait()
    try group.barrier(label: "x")
    #expect(try group.gatherValues([0.5, 2], label: "x") == [[0.5, 2]])
  }

  @Test func groupOfOneNeedsNoOthers() throws {
    let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    let group = try ProcessGroup(
      name: "alone", ranks: [3], rank: 3, store: store, timeout: .seconds(1))
    let tensor = Tensor([4 as Float])
    try group.allReduce(tensor, label: "x").wait()
    #expect(tensor.floats() == [4])
  }
}
