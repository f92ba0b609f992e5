import Foundation
import Testing

@testable import XTunerData

/// The order in which an epoch's packs come.
@Suite struct PackOrderTests {
  private static let lengths = randomLengths(499, in: 2...61, seed: 67)

  private func loader(
    _ lengths: [Int], _ mode: PackingMode = .bestFit, rules: DataRules = .current,
    seed: UInt64 = 71, isShuffled: Bool = true, packsPerStep: Int = 1, epochs: Int? = nil,
    sequenceLength: Int = 61,
    isLabel: (Int) -> Bool = { _ in true }
  ) throws -> DataLoader {
    try DataLoader(
      sources: [DataSource(name: "one", samples: numberedSamples(lengths, isLabel: isLabel))],
      options: DataLoaderOptions(
        packing: PackPlanner(mode: mode, sequenceLength: sequenceLength, lookAhead: 1024),
        packsPerStep: packsPerStep, seed: seed, isShuffled: isShuffled, rules: rules,
        epochLimit: epochs))
  }

  private func allPacks(_ loader: DataLoader) throws -> [Pack] {
    var packs: [Pack] = []
    while case let step = try loader.nextStep(), !step.isEmpty { packs += step }
    return packs
  }

  private func sorted(_ packs: some Sequence<Pack>) -> [String] {
    packs.map { "\($0.tokens)" }.sorted()
  }

  /// The correlation of a pack's place with a number of it, from -1 to 1.
  private func trend(_ values: [Double]) -> Double {
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    var (product, places, squares) = (0.0, 0.0, 0.0)
    for (place, value) in values.enumerated() {
      let offset = Double(place) - (count - 1) / 2
      product += offset * (value - mean)
      places += offset * offset
      squares += (value - mean) * (value - mean)
    }
    return product / (places * squares).squareRoot()
  }

  @Test(arguments: PackingMode.allCases)
  func anEpochsPacksArePermutedByEpochAndSeed(mode: PackingMode) throws {
    let planned = try allPacks(loader(Self.lengths, mode, rules: .version1, epochs: 1))
    let packs = try allPacks(loader(Self.lengths, mode, epochs: 2))
    let (first, second) = (packs.prefix(planned.count), packs.dropFirst(planned.count))
    #expect(sorted(first) == sorted(planned))
    #expect(Array(first) != planned)
    // Other packs too, since samples are mixed before they are packed.
    #expect(Array(second) != Array(first))
    #expect(try allPacks(loader(Self.lengths, mode, seed: 73, epochs: 1)) != Array(first))
    #expect(try allPacks(loader(Self.lengths, mode, epochs: 1)) == Array(first))
  }

  @Test(arguments: PackingMode.allCases)
  func withoutShufflingPacksComeAsTheyAreLaidOut(mode: PackingMode) throws {
    let packs = try allPacks(loader(Self.lengths, mode, isShuffled: false, epochs: 1))
    let planned = try PackPlanner(mode: mode, sequenceLength: 61, lookAhead: 1024).plan(
      lengths: Self.lengths.map { Int32($0) }, order: Self.lengths.indices.map { Int32($0) })
    #expect(
      packs.map(\.sampleLengths) == (0..<planned.packCount).map(planned.pieceLengths(inPack:)))
  }

  /// Best fit lays out long samples first: an epoch went from few samples a pack to many.
  @Test func samplesAPackHaveNoTrendWithinAnEpoch() throws {
    func trend(_ rules: DataRules) throws -> Double {
      self.trend(
        try allPacks(loader(Self.lengths, rules: rules, epochs: 1, sequenceLength: 211)).map {
          Double($0.sampleLengths.count)
        })
    }
    #expect(try trend(.version1) > 0.5)
    // Three standard errors of 1 / sqrt(75 packs).
    #expect(abs(try trend(.version2)) < 0.35)
  }

  /// An order that is random and no more has stretches of mostly long samples: means of 16 packs would
  /// have a sixteenth of the variance, not a sixtieth.
  @Test func everyStretchOfPacksIsOfTheSameMixture() throws {
    let lengths = randomLengths(9973, in: 2...97, seed: 83)
    let packs = try allPacks(loader(lengths, epochs: 1, sequenceLength: 97))
    func variance(_ values: [Double]) -> Double {
      let mean = values.reduce(0, +) / Double(values.count)
      return values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(values.count)
    }
    let samples = packs.map { Double($0.sampleLengths.count) }
    // A random order has shares of 1 / size: 0.5, 0.25, 0.125, 0.0625.
    for (size, limit) in [(2, 0.46), (4, 0.2), (8, 0.1), (16, 0.02)] {
      let means = stride(from: 0, through: samples.count - 16, by: size).map { start in
        samples[start..<start + size].reduce(0, +) / Double(size)
      }
      let share = variance(means) / variance(samples)
      #expect(share < limit, "\(size): \(share)")
    }
  }

  @Test(arguments: [1, 2, 15, 16, 17, 31, 33, 257])
  func anyNumberOfPacksComesOnceAndInManyOrders(count: Int) throws {
    let lengths = randomLengths(count, in: 1...61, seed: 89)
    let orders = try (0..<20).map { seed in
      let packs = try allPacks(loader(lengths, .none, seed: UInt64(seed), epochs: 1))
      return packs.map { $0.tokens[0] / 1000 }
    }
    for order in orders { #expect(order.sorted() == (0..<Int32(count)).map { $0 }) }
    #expect(Set(orders).count >= min(count, 15))
  }

  /// Cut documents filled many packs in a row.
  @Test func aCutDocumentIsSpreadOverTheEpoch() throws {
    let lengths = randomLengths(13, in: 800...999, seed: 79)
    func neighbours(_ rules: DataRules) throws -> Double {
      let documents = try allPacks(loader(lengths, .split, rules: rules, epochs: 1)).map {
        $0.tokens[0] / 1000
      }
      let pairs = zip(documents, documents.dropFirst())
      return Double(pairs.count { $0 == $1 }) / Double(documents.count - 1)
    }
    #expect(try neighbours(.version1) > 0.9)
    #expect(try neighbours(.version2) < 0.2)
  }

  @Test func documentsAreMixedBeforeTheyAreCut() throws {
    let lengths = [Int](repeating: 90, count: 11)
    /// The documents that share a pack with document 0, over some epochs.
    var partners: Set<Int32> = []
    for pack in try allPacks(loader(lengths, .split, epochs: 7)) {
      var start = 0
      let documents = pack.sampleLengths.map { length in
        defer { start += Int(length) }
        return pack.tokens[start] / 1000
      }
      if documents.contains(0) { partners.formUnion(documents) }
    }
    #expect(partners.count > 5, "\(partners)")
  }

  // MARK: Runs that an earlier version began

  private static let oldLengths = [11, 3, 7, 5, 2, 13]
  /// What the version before wrote after 2 steps of 1 pack.
  private static let oldState = """
    {"epoch":0,"packsConsumed":2,"samplesConsumed":2,"tokensConsumed":24,"identity":{"data":\
    "8c54bb1510f29ae9","sampleCount":6,"seed":71,"isShuffled":true,"packing":{"mode":"best_fit",\
    "sequenceLength":17,"lookAhead":1024}}}
    """

  @Test func aRunOfTheFirstRulesGoesOnInItsOrder() throws {
    let state = try JSONDecoder().decode(LoaderState.self, from: Data(Self.oldState.utf8))
    let old = try loader(Self.oldLengths, rules: .version1, sequenceLength: 17)
    try old.restore(state)
    for (epoch, pack) in [(0, 2), (1, 0), (1, 1)] {
      let order = try EpochOrder(seed: 71).samples(counts: [6], weights: [1], epoch: epoch)
      let plan = try PackPlanner(mode: .bestFit, sequenceLength: 17, lookAhead: 1024).plan(
        lengths: Self.oldLengths.map { Int32($0) }, order: order)
      #expect(plan.packCount == 3)
      #expect(try old.nextStep()[0].sampleLengths == plan.pieceLengths(inPack: pack))
    }
    // Saved again it is still a run of the first rules, which older programs can read.
    #expect(old.state.identity?.rules == nil)
    #expect(old.state.identity == state.identity)
  }

  @Test func rulesAreNotChangedUnderARun() throws {
    let state = try JSONDecoder().decode(LoaderState.self, from: Data(Self.oldState.utf8))
    let error = #expect(throws: LoaderError.self) {
      try loader(Self.oldLengths, sequenceLength: 17).restore(state)
    }
    #expect(error?.message.contains("rules of the order 2, were 1") == true)
  }

  @Test func changedLabelsRefuseTheState() throws {
    let first = try loader(Self.oldLengths)
    _ = try first.nextStep()
    try loader(Self.oldLengths).restore(first.state)
    let error = #expect(throws: LoaderError.self) {
      try loader(Self.oldLengths, isLabel: { $0 != 9 }).restore(first.state)
    }
    #expect(error?.code == .dataChanged)
    #expect(error?.message.contains("contents, labels or weights") == true)
    // The first rules never looked at labels, and their runs must go on.
    let old = try loader(Self.oldLengths, rules: .version1)
    _ = try old.nextStep()
    try loader(Self.oldLengths, rules: .version1, isLabel: { $0 != 9 }).restore(old.state)
  }
}
