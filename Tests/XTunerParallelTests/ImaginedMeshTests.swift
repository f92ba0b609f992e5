import Testing
import Torch
import XTunerNN

@testable import XTunerParallel

/// One rank of many, in one process and without memory.
@Suite struct ImaginedMeshTests {
  private func mesh(
    _ layout: ParallelLayout, rank: Int = 0, _ imagination: Imagination = Imagination(kind: .cpu)
  ) -> ProcessMesh {
    ProcessMesh(imagining: layout, rank: rank, imagination)
  }

  @Test func groupsHaveTheRanksOfTheLayout() throws {
    let layout = ParallelLayout(
      worldSize: 256, replicate: 2, expert: 8, expertTensor: 1, sequence: 4)
    let mesh = mesh(layout, rank: 77)
    #expect(mesh.world.size == 256 && mesh.world.index == 77)
    #expect(mesh.shard.ranks == layout.shardRanks(of: 77))
    #expect(mesh.expert.ranks == layout.expertRanks(of: 77))
    #expect(mesh.sequence.ranks == layout.sequenceRanks(of: 77))
    let values = try mesh.world.gatherValues([3, 4], label: "test")
    #expect(values == Array(repeating: [3, 4], count: 256))
  }

  @Test func collectivesSayWhatTheySendAndTakeWhatTheyTake() throws {
    let imagination = Imagination(kind: .cpu)
    let mesh = mesh(ParallelLayout(worldSize: 4), imagination)
    let ledger = MemoryLedger(imagining: .cpu)
    try ledger.use {
      let part = Tensor.empty([10], dtype: .float32, device: .meta)
      let whole = Tensor.empty([40], dtype: .float32, device: .meta)
      let gathering = try mesh.shard.allGather(into: whole, from: part, label: "gathered")
      // Gloo gathers into memory of its own.
      #expect(ledger.moments[0].live[.collectives] == 160)
      try gathering.wait()
      #expect(ledger.moments[0].live[.collectives] == 0)
      let summing = try mesh.shard.reduceScatter(into: part, from: whole, label: "summed")
      #expect(ledger.moments[0].live[.collectives] == 160)
      try summing.wait()
      try mesh.shard.allReduce(whole, label: "all").wait()
      try mesh.shard.allToAll(
        into: whole, from: whole.contiguous(), outputCounts: [10, 10, 10, 10],
        inputCounts: [10, 10, 10, 10], label: "rows"
      ).wait()
    }
    #expect(ledger.moments[0].live.total == 0)
    let messages = imagination.takeMessages()
    #expect(
      messages.map(\.operation) == ["all-gather", "reduce-scatter", "all-reduce", "all-to-all"])
    #expect(messages.map(\.label) == ["gathered", "summed", "all", "rows"])
    #expect(messages.map(\.byteCount) == [120, 120, 240, 120])
    #expect(messages.allSatisfy { $0.group == "shard" })
    #expect(imagination.takeMessages().isEmpty)
  }

  /// A unit's account: its part of weights, a buffer while it is gathered, one for gradients, its part of them.
  @Test func aUnitTakesItsPartAndBuffers() throws {
    let mesh = mesh(ParallelLayout(worldSize: 4))
    let ledger = MemoryLedger(imagining: .cpu)
    try ledger.use {
      let parameter = Parameter(
        "matrix", shape: [16, 24], kind: .matrix, initializer: .normal(standardDeviation: 1))
      let pool = BufferPool(device: .meta)
      let unit = FlatUnit(
        name: "unit", parameters: [parameter], computeDType: .bfloat16, purpose: .training,
        group: mesh.shard, device: .meta, pool: pool)
      #expect(ledger.moments[0].live[.weights] == 96 * (4 + 2))
      try unit.gather()
      try unit.waitUntilGathered()
      #expect(ledger.moments[0].live[.buffers] == 384 * 2)
      unit.accumulate(
        Tensor.empty([16, 24], dtype: .bfloat16, device: .meta), for: parameter)
      try unit.release()
      try unit.reduce(wire: .float32, isLast: true)
      #expect(ledger.moments[0].live[.gradientShards] == 96 * 4)
      #expect(ledger.moments[0].live[.collectives] == 384 * 4)
      try unit.finishReduction()
      #expect(ledger.moments[0].live[.collectives] == 0)
      // Buffers stay, for the next unit.
      #expect(ledger.moments[0].live[.buffers] == 384 * (2 + 4))
    }
  }

  /// 8 ranks of 4 experts each send 100 rows; with twice the mean, this rank's experts get twice as many.
  @Test(arguments: [(1.0, 100), (2.0, 200), (0.25, 25), (100.0, 800)])
  func expertsGetTheStatedShare(load: Double, expected: Int) throws {
    let imagination = Imagination(kind: .cpu, expertLoad: load)
    let mesh = mesh(
      ParallelLayout(worldSize: 8, replicate: 1, expert: 8, expertTensor: 1, sequence: 1), rank: 3,
      imagination)
    let exchange = ExpertExchange(
      ExchangeQueue(mesh.expert, device: .meta), expertDegree: 8, tensorDegree: 1)
    let ledger = MemoryLedger(imagining: .cpu)
    try ledger.use {
      let rows = Tensor.empty([100, 6], dtype: .bfloat16, device: .meta)
      let counts = Tensor.empty([32], dtype: .int64, device: .meta)
      let (sent, route) = exchange.send(rows, countsE: counts, known: nil, label: "rows")
      let arrived = try sent.wait()
      // 12.5 rows for each of 8 places, rounded.
      #expect(abs(arrived[0].size(0) - expected) <= 4)
      #expect(arrived[1].shape == [4])
      let back = try exchange.collect(arrived[0], route: route, label: "back").wait()
      #expect(back[0].shape == [100, 6])
    }
  }

  /// Two ranks have a part of each expert: rows go to both, and their results are summed.
  @Test func rowsGoToEveryPartOfAnExpert() throws {
    let mesh = mesh(
      ParallelLayout(worldSize: 4, replicate: 1, expert: 2, expertTensor: 2, sequence: 1), rank: 1)
    let exchange = ExpertExchange(
      ExchangeQueue(mesh.expert, device: .meta), expertDegree: 2, tensorDegree: 2)
    try MemoryLedger(imagining: .cuda).use {
      let rows = Tensor.empty([7, 3], dtype: .bfloat16, device: .meta)
      let counts = Tensor.empty([2], dtype: .int64, device: .meta)
      let (sent, route) = exchange.send(rows, countsE: counts, known: nil, label: "rows")
      let arrived = try sent.wait()
      #expect(arrived[0].shape == [16, 3])
      #expect(
        try exchange.collect(arrived[0], route: route, label: "back").wait()[0].shape == [7, 3])
    }
  }

  @Test func swappedTensorsTakeNoHostMemory() {
    let ledger = MemoryLedger(imagining: .cuda)
    ledger.use {
      let swap = HostSwap(device: .meta)
      let resting = RestingTensor(
        Tensor.zeros([50], dtype: .float32, device: .meta), swap: swap)
      #expect(ledger.moments[0].live.total == 0)
      resting.prefetch()
      #expect(ledger.moments[0].live[.moments] == 200)
      resting.use { #expect($0.shape == [50]) }
      #expect(swap.hostByteCount == 0)
      withExtendedLifetime(resting) {}
    }
  }
}
