import Testing

@testable import XTunerData

@Suite struct EpochOrderTests {
  private let counts = [101, 7, 13]

  private func occurrences(_ order: [Int32], of range: Range<Int>) -> [Int] {
    range.map { sample in order.count { Int($0) == sample } }
  }

  @Test func weightOneIsAPermutationThatChangesWithEpochAndSeed() throws {
    let order = EpochOrder(seed: 3)
    let first = try order.samples(counts: counts, weights: [1, 1, 1], epoch: 0)
    let second = try order.samples(counts: counts, weights: [1, 1, 1], epoch: 1)
    let other = try EpochOrder(seed: 4).samples(counts: counts, weights: [1, 1, 1], epoch: 0)
    #expect(first.sorted() == (0..<121).map { Int32($0) })
    #expect(second.sorted() == first.sorted())
    #expect(first != second)
    #expect(first != other)
    #expect(first == (try order.samples(counts: counts, weights: [1, 1, 1], epoch: 0)))
  }

  @Test func theFirstValuesNeverChange() throws {
    // Pins the generator and the shuffle: a change would break the resuming of old runs.
    var generator = SplitMix64(seed: 1)
    #expect(generator.next() == 13_830_413_928_045_401_970)
    let order = try EpochOrder(seed: 1).samples(counts: [7], weights: [1], epoch: 0)
    #expect(order == [0, 3, 2, 1, 5, 4, 6])
  }

  @Test func aFractionShowsEverySampleEquallyOftenOverEpochs() throws {
    let order = EpochOrder(seed: 5)
    var all: [Int32] = []
    for epoch in 0..<10 {
      let epochOrder = try order.samples(counts: [20, 30], weights: [0.3, 1], epoch: epoch)
      #expect(epochOrder.count == 36)
      all += epochOrder
    }
    #expect(occurrences(all, of: 0..<20).allSatisfy { $0 == 3 })
    #expect(occurrences(all, of: 20..<50).allSatisfy { $0 == 10 })
  }

  @Test func aWeightOfTwoAndAHalfRepeatsTwiceOrThrice() throws {
    let order = try EpochOrder(seed: 5).samples(counts: [10], weights: [2.5], epoch: 3)
    #expect(order.count == 25)
    #expect(Set(occurrences(order, of: 0..<10)) == [2, 3])
  }

  @Test func aWeightOfZeroTurnsASourceOff() throws {
    let order = try EpochOrder(seed: 5).samples(counts: [10, 11], weights: [0, 1], epoch: 0)
    #expect(order.allSatisfy { $0 >= 10 })
    #expect(order.count == 11)
  }

  @Test func withoutShufflingSourcesFollowInFileOrder() throws {
    let order = EpochOrder(seed: 5, isShuffled: false)
    let samples = try order.samples(counts: [3, 2], weights: [1, 2], epoch: 4)
    #expect(samples == [0, 1, 2, 3, 4, 3, 4])
  }

  @Test(arguments: [[Double.nan], [-1], [.infinity], [0], [1, 1]])
  func weightsThatCannotWorkAreErrors(_ weights: [Double]) {
    #expect(throws: LoaderError.self) {
      try EpochOrder(seed: 0).samples(counts: [3], weights: weights, epoch: 0)
    }
  }

  @Test func shufflingIsUniform() {
    // Every one of the six orders of three values, 6,000 times: chi-squared below 20.5 (99.9 %).
    var counts: [[Int32]: Int] = [:]
    var generator = SplitMix64(seed: 23)
    for _ in 0..<6000 {
      var values: [Int32] = [0, 1, 2]
      generator.shuffle(&values)
      counts[values, default: 0] += 1
    }
    let chiSquared = counts.values.reduce(0.0) { $0 + Double(($1 - 1000) * ($1 - 1000)) / 1000 }
    #expect(counts.count == 6)
    #expect(chiSquared < 20.5, "\(counts)")
  }
}
