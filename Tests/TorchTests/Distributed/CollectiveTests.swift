import Testing
import Torch

/// Every operation among one to four ranks, with sizes that tell elements, ranks and rows apart.
@Suite struct DistributedCollectiveTests {
  static let counts = [1, 2, 3, 4]
  static let dtypes: [DType] = [.float32, .bfloat16, .int64]

  /// Small whole numbers that no two ranks or elements share, exact in every dtype.
  static func values(rank: Int, count: Int, dtype: DType) -> Tensor {
    Tensor((0..<count).map { Float($0 % 7 + 10 * rank - 11) }).to(dtype)
  }

  @Test(arguments: counts, dtypes)
  func allGatherKeepsTheOrderOfRanks(count: Int, dtype: DType) throws {
    for n in [1, 13, 0, 10_007] {
      let gathered = try runGroup(count) { group in
        let output = Tensor.zeros([count * n], dtype: dtype)
        let input = Self.values(rank: group.index, count: n, dtype: dtype)
        try group.allGather(into: output, from: input, label: "values").wait()
        return output.floats()
      }
      let expected = (0..<count).flatMap {
        Self.values(rank: $0, count: n, dtype: dtype).floats()
      }
      for (rank, values) in gathered.enumerated() {
        #expect(values == expected, "rank \(rank), \(n) elements")
      }
    }
  }

  @Test func allGatherTakesItsInputFromItsOutput() throws {
    let gathered = try runGroup(3) { group in
      let whole = Tensor.zeros([3 * 5])
      let own = whole.narrowed(dim: 0, start: group.index * 5, length: 5)
      own.copy(from: Self.values(rank: group.index, count: 5, dtype: .float32))
      try group.allGather(into: whole, from: own, label: "values").wait()
      return whole.floats()
    }
    let expected = (0..<3).flatMap { Self.values(rank: $0, count: 5, dtype: .float32).floats() }
    #expect(gathered == [expected, expected, expected])
  }

  @Test(arguments: counts, dtypes)
  func reduceScatterSumsEachPart(count: Int, dtype: DType) throws {
    for n in [1, 11, 0, 5_003] {
      let parts = try runGroup(count) { group in
        let output = Tensor.zeros([n], dtype: dtype)
        let input = Self.values(rank: group.index, count: count * n, dtype: dtype)
        try group.reduceScatter(into: output, from: input, label: "values").wait()
        return output.floats()
      }
      let inputs = (0..<count).map {
        Self.values(rank: $0, count: count * n, dtype: .float32).floats()
      }
      for (rank, part) in parts.enumerated() {
        let expected = (rank * n..<(rank + 1) * n).map { i in
          inputs.reduce(Float(0)) { $0 + $1[i] }
        }
        #expect(part == expected, "rank \(rank), \(n) elements")
      }
    }
  }

  @Test(arguments: counts, dtypes)
  func allReduceSumsAndTakesTheMaximum(count: Int, dtype: DType) throws {
    for n in [1, 17, 0, 10_007] {
      let results = try runGroup(count) { group in
        let sum = Self.values(rank: group.index, count: n, dtype: dtype)
        let maximum = Self.values(rank: group.index, count: n, dtype: dtype)
        let works = try [
          group.allReduce(sum, label: "sum"), group.allReduce(maximum, .maximum, label: "maximum"),
        ]
        for work in works { try work.wait() }
        return [sum.floats(), maximum.floats()]
      }
      let inputs = (0..<count).map { Self.values(rank: $0, count: n, dtype: .float32).floats() }
      let sums = (0..<n).map { i in inputs.reduce(Float(0)) { $0 + $1[i] } }
      for (rank, result) in results.enumerated() {
        #expect(result == [sums, inputs[count - 1]], "rank \(rank), \(n) elements")
      }
    }
  }

  @Test(arguments: counts, dtypes)
  func allToAllMovesUnevenRows(count: Int, dtype: DType) throws {
    // Rank r sends (r + 2 i) % 4 rows to rank i: zeros for some, and different ways back.
    @Sendable func rows(_ from: Int, _ to: Int) -> Int { (from + 2 * to) % 4 }
    let width = 3
    let received = try runGroup(count) { group in
      let inputCounts = (0..<count).map { rows(group.index, $0) }
      let outputCounts = (0..<count).map { rows($0, group.index) }
      let sent = inputCounts.enumerated().flatMap { place, rows in
        Array(repeating: Float(10 * group.index + place), count: rows * width)
      }
      let input = Tensor(sent, shape: [inputCounts.reduce(0, +), width]).to(dtype)
      let output = Tensor.zeros([outputCounts.reduce(0, +), width], dtype: dtype)
      try group.allToAll(
        into: output, from: input, outputCounts: outputCounts, inputCounts: inputCounts,
        label: "rows"
      ).wait()
      return output.floats()
    }
    for (rank, values) in received.enumerated() {
      let expected = (0..<count).flatMap {
        Array(repeating: Float(10 * $0 + rank), count: rows($0, rank) * width)
      }
      #expect(values == expected, "rank \(rank)")
    }
  }

  /// Which rank sends seven rows to which; nobody else sends.
  static let lonelyPairs = [(from: 0, to: 2), (from: 2, to: 2), (from: 1, to: 0)]

  @Test(arguments: lonelyPairs)
  func allToAllTakesEmptyTensorsAnywhere(pair: (from: Int, to: Int)) throws {
    let received = try runGroup(3) { group in
      var inputCounts = [0, 0, 0]
      var outputCounts = [0, 0, 0]
      if group.index == pair.from { inputCounts[pair.to] = 7 }
      if group.index == pair.to { outputCounts[pair.from] = 7 }
      let output = Tensor.zeros([outputCounts.reduce(0, +), 5])
      try group.allToAll(
        into: output, from: Tensor.ones([inputCounts.reduce(0, +), 5]), outputCounts: outputCounts,
        inputCounts: inputCounts, label: "rows"
      ).wait()
      return output.floats()
    }
    for (rank, values) in received.enumerated() {
      let expected = [Float](repeating: 1, count: rank == pair.to ? 35 : 0)
      #expect(values == expected, "rank \(rank)")
    }
  }

  @Test func allToAllOfNothingIsOrdinary() throws {
    let received = try runGroup(4) { group in
      let nothing = Tensor.zeros([0, 3])
      let counts = [0, 0, 0, 0]
      try group.allToAll(
        into: Tensor.zeros([0, 3]), from: nothing, outputCounts: counts, inputCounts: counts,
        label: "rows"
      ).wait()
      return try group.gatherValues([Double(group.index)], label: "after").map { $0[0] }
    }
    let expected: [Double] = [0, 1, 2, 3]
    #expect(received == [expected, expected, expected, expected])
  }

  @Test(arguments: [DType.bool, .uint8, .float16, .float64, .float8e4m3])
  func everyDTypeMoves(dtype: DType) throws {
    let results = try runGroup(2) { group in
      let own = Tensor([1, 0, Float(group.index)]).to(dtype)
      let both = Tensor.zeros([6], dtype: dtype)
      try group.allGather(into: both, from: own, label: "values").wait()
      try group.broadcast(own, from: 1, label: "values").wait()
      return both.floats() + own.floats()
    }
    let expected: [Float] = [1, 0, 0, 1, 0, 1, 1, 0, 1]
    #expect(results == [expected, expected])
  }

  @Test(arguments: counts, dtypes)
  func broadcastBringsTheTensorOfOne(count: Int, dtype: DType) throws {
    for root in 0..<count {
      let results = try runGroup(count) { group in
        let tensor = Self.values(rank: group.index, count: 19, dtype: dtype)
        try group.broadcast(tensor, from: root, label: "values").wait()
        try group.barrier(label: "after")
        return tensor.floats()
      }
      let expected = Self.values(rank: root, count: 19, dtype: dtype).floats()
      #expect(results == Array(repeating: expected, count: count), "from \(root)")
    }
  }

  @Test(arguments: [2, 3, 4], [DType.float32, .bfloat16])
  func sumsAreTheSameBitsOnEveryRankAndRun(count: Int, dtype: DType) throws {
    func run() throws -> [(all: [UInt8], part: [UInt8])] {
      try runGroup(count) { group in
        let generator = Generator(seed: UInt64(group.index) + 5)
        let values = randomTensor([count * 4_999], dtype: dtype, generator: generator)
        let part = Tensor.zeros([4_999], dtype: dtype)
        let all = values.cloned()
        let scattered = try group.reduceScatter(into: part, from: values, label: "part")
        try group.allReduce(all, label: "all").wait()
        try scattered.wait()
        return (bytes(all), bytes(part))
      }
    }
    let first = try run()
    #expect(Set(first.map(\.all)).count == 1, "all ranks have the same sum")
    for _ in 0..<3 {
      let again = try run()
      #expect(again.map(\.all) == first.map(\.all))
      #expect(again.map(\.part) == first.map(\.part))
    }
  }

  @Test func reduceScatterAddsInTheOrderOfRanks() throws {
    // Float32 absorbs a 1 beside 2^24: only one order gives each result.
    let big: Float = 16_777_216
    let inputs: [[Float]] = [[big, 1, -big], [1, big, 1], [-big, -big, big]]
    let parts = try runGroup(3) { group in
      let output = Tensor.zeros([1])
      try group.reduceScatter(into: output, from: Tensor(inputs[group.index]), label: "x").wait()
      return output.floats()[0]
    }
    let expected = (0..<3).map { (part: Int) -> Float in
      let start = inputs[0][part] + inputs[1][part]
      return start + inputs[2][part]
    }
    #expect(parts == expected)
  }
}
