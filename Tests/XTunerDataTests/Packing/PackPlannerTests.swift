import Testing

@testable import XTunerData

/// Lengths of a data set, for the property tests.
struct LengthCase: CustomTestStringConvertible, Sendable {
  var name: String
  var lengths: [Int32]
  var sequenceLength: Int

  var testDescription: String { name }

  static let all: [LengthCase] = {
    var generator = SplitMix64(seed: 7)
    func random(_ count: Int, in range: ClosedRange<Int32>) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: range, using: &generator) }
    }
    return [
      LengthCase(name: "one sample", lengths: [5], sequenceLength: 7),
      LengthCase(name: "one full sample", lengths: [7], sequenceLength: 7),
      LengthCase(name: "only empty samples", lengths: [0, 0, 0], sequenceLength: 7),
      LengthCase(name: "some empty samples", lengths: [0, 3, 0, 0, 5, 0], sequenceLength: 7),
      LengthCase(name: "length one", lengths: random(101, in: 1...1), sequenceLength: 13),
      LengthCase(name: "sequence of one", lengths: random(11, in: 0...1), sequenceLength: 1),
      LengthCase(name: "small", lengths: random(997, in: 0...31), sequenceLength: 31),
      LengthCase(
        name: "over a word of bits", lengths: random(1009, in: 1...67), sequenceLength: 67),
      LengthCase(
        name: "over two levels", lengths: random(503, in: 1...4999), sequenceLength: 4999),
      LengthCase(name: "nearly full", lengths: random(499, in: 60...64), sequenceLength: 64),
    ]
  }()
}

@Suite struct PackPlannerTests {
  private func planner(
    _ mode: PackingMode, _ length: Int, lookAhead: Int = 97
  ) -> PackPlanner {
    PackPlanner(mode: mode, sequenceLength: length, lookAhead: lookAhead)
  }

  private func shuffled(_ count: Int, seed: UInt64) -> [Int32] {
    var order = (0..<count).map { Int32($0) }
    var generator = SplitMix64(seed: seed)
    generator.shuffle(&order)
    return order
  }

  @Test(arguments: LengthCase.all, [PackingMode.bestFit, .none])
  func wholeSamplesAreKeptOnceAndFit(_ data: LengthCase, mode: PackingMode) throws {
    let order = shuffled(data.lengths.count, seed: 3)
    let plan = try planner(mode, data.sequenceLength).plan(lengths: data.lengths, order: order)
    var seen: [Int: Int] = [:]
    for pack in 0..<plan.packCount {
      let pieces = plan.pieces(inPack: pack)
      #expect(!pieces.isEmpty)
      #expect(pieces.reduce(0) { $0 + $1.length } <= data.sequenceLength)
      for piece in pieces {
        #expect(piece.start == 0)
        #expect(piece.length == Int(data.lengths[piece.sample]))
        seen[piece.sample, default: 0] += 1
      }
    }
    let expected = data.lengths.indices.filter { data.lengths[$0] > 0 }
    #expect(seen.keys.sorted() == expected)
    #expect(seen.values.allSatisfy { $0 == 1 })
    #expect(plan.emptySampleCount == data.lengths.count - expected.count)
    #expect(plan.tokenCount == data.lengths.reduce(0) { $0 + Int($1) })
  }

  @Test(arguments: LengthCase.all, [3, 17, 1000])
  func splitCutsExactlyAndInOrder(_ data: LengthCase, sequenceLength: Int) throws {
    let order = shuffled(data.lengths.count, seed: 5)
    let plan = try planner(.split, sequenceLength).plan(lengths: data.lengths, order: order)
    var stream: [Int] = []
    for pack in 0..<plan.packCount {
      let pieces = plan.pieces(inPack: pack)
      let tokenCount = pieces.reduce(0) { $0 + $1.length }
      #expect(
        pack == plan.packCount - 1 ? tokenCount > 0 : tokenCount == sequenceLength,
        "pack \(pack) has \(tokenCount) tokens")
      for piece in pieces {
        stream += (piece.start..<(piece.start + piece.length)).map { 10_000 * piece.sample + $0 }
      }
    }
    let expected = order.flatMap { sample in
      (0..<Int(data.lengths[Int(sample)])).map { 10_000 * Int(sample) + $0 }
    }
    #expect(stream == expected)
  }

  @Test(arguments: [1, 2, 5, 64, 10_000])
  func lookAheadBoundsHowFarASampleMoves(lookAhead: Int) throws {
    var generator = SplitMix64(seed: 11)
    let lengths = (0..<2003).map { _ in Int32.random(in: 1...61, using: &generator) }
    let order = (0..<lengths.count).map { Int32($0) }
    let plan = try planner(.bestFit, 61, lookAhead: lookAhead).plan(lengths: lengths, order: order)
    var oldest = 0
    var placed = [Bool](repeating: false, count: lengths.count)
    for pack in 0..<plan.packCount {
      while placed[oldest] { oldest += 1 }
      let pieces = plan.pieces(inPack: pack)
      #expect(pieces[0].sample == oldest, "the oldest sample starts the pack")
      for piece in pieces {
        #expect(piece.sample < oldest + lookAhead)
        placed[piece.sample] = true
      }
    }
    #expect(!placed.contains(false))
  }

  @Test func bestFitTakesTheLongestThatFits() throws {
    let plan = try planner(.bestFit, 10).plan(lengths: [4, 3, 5, 6, 2], order: [0, 1, 2, 3, 4])
    #expect(plan.pieces(inPack: 0).map(\.sample) == [0, 3])
    #expect(plan.pieces(inPack: 1).map(\.sample) == [1, 2, 4])
    #expect(plan.packCount == 2)
    #expect(plan.efficiency == 1)
  }

  @Test func repeatsOfASampleAreSamplesOfTheirOwn() throws {
    let plan = try planner(.bestFit, 7).plan(lengths: [3, 2], order: [0, 0, 1, 0])
    let samples = (0..<plan.packCount).flatMap { plan.pieces(inPack: $0).map(\.sample) }
    #expect(samples.sorted() == [0, 0, 0, 1])
  }

  @Test func bestFitFillsNearlyAllRoomOnRealisticLengths() throws {
    var generator = SplitMix64(seed: 13)
    // A long-tailed mixture: most samples short, some near the sequence length.
    let lengths = (0..<20_011).map { _ -> Int32 in
      let shift = Int32.random(in: 0...7, using: &generator)
      return max(1, Int32.random(in: 1...4096, using: &generator) >> shift)
    }
    let order = shuffled(lengths.count, seed: 17)
    let plan = try planner(.bestFit, 4096, lookAhead: 4096).plan(lengths: lengths, order: order)
    #expect(plan.efficiency > 0.99, "\(plan.efficiency)")
  }

  @Test func samplesLongerThanTheSequenceAreAnErrorUnlessCut() throws {
    let lengths: [Int32] = [11, 13]
    for mode in [PackingMode.bestFit, .none] {
      let error = #expect(throws: LoaderError.self) {
        try planner(mode, 7).plan(lengths: lengths, order: [1, 0])
      }
      #expect(error?.code == .sampleTooLong)
      #expect(error?.message.contains("sample 1 has 13 tokens") == true)
    }
    let plan = try planner(.split, 7).plan(lengths: lengths, order: [1, 0])
    #expect(plan.packCount == 4)
    #expect(plan.tokenCount == 24)
  }

  @Test func optionsThatCannotWorkAreErrors() {
    #expect(throws: LoaderError.self) { try planner(.bestFit, 0).plan(lengths: [1], order: [0]) }
    #expect(throws: LoaderError.self) {
      try planner(.bestFit, 5, lookAhead: 0).plan(lengths: [1], order: [0])
    }
  }

  @Test func anEmptyOrderGivesAnEmptyPlan() throws {
    for mode in PackingMode.allCases {
      let plan = try planner(mode, 5).plan(lengths: [], order: [])
      #expect(plan.packCount == 0)
      #expect(plan.efficiency == 0)
    }
  }
}
