import Foundation
import Testing

@testable import XTunerData

@Suite struct DataLoaderTests {
  private static let lengths = randomLengths(151, in: 0...29, seed: 31)

  private func sources() -> [DataSource] {
    [
      DataSource(name: "first", samples: numberedSamples(Array(Self.lengths[..<100]))),
      DataSource(name: "second", samples: numberedSamples(Array(Self.lengths[100...]), first: 100)),
    ]
  }

  private func options(
    _ mode: PackingMode = .bestFit, packsPerStep: Int = 4
  ) -> DataLoaderOptions {
    DataLoaderOptions(
      packing: PackPlanner(mode: mode, sequenceLength: 29, lookAhead: 23),
      packsPerStep: packsPerStep, seed: 37)
  }

  private func packs(_ loader: DataLoader, steps: Int) throws -> [Pack] {
    try (0..<steps).flatMap { _ in try loader.nextStep() }
  }

  @Test(arguments: PackingMode.allCases)
  func anEpochHoldsEveryTokenOnce(mode: PackingMode) throws {
    var options = options(mode)
    options.epochLimit = 1
    let loader = try DataLoader(sources: sources(), options: options)
    var tokens: [Int32] = []
    while case let step = try loader.nextStep(), !step.isEmpty {
      for pack in step {
        tokens += pack.tokens
        #expect(pack.sampleLengths.reduce(0, +) == Int32(pack.tokens.count))
        #expect(pack.tokens.count <= 29)
        #expect(pack.labels.count == pack.tokens.count)
        checkLabels(of: pack)
      }
    }
    let expected = Self.lengths.enumerated().flatMap { sample, length in
      (0..<length).map { Int32(1000 * sample + $0) }
    }
    #expect(tokens.sorted() == expected)
    #expect(loader.state.samplesConsumed == Self.lengths.count { $0 > 0 })
    #expect(loader.state.tokensConsumed == expected.count)
    #expect(try loader.nextStep().isEmpty)
  }

  private func checkLabels(of pack: Pack) {
    var start = 0
    for (length, source) in zip(pack.sampleLengths, pack.sources) {
      #expect(pack.labels[start] == -100)
      for position in (start + 1)..<max(start + 1, start + Int(length)) {
        #expect(pack.labels[position] == pack.tokens[position])
        #expect(pack.tokens[position] == pack.tokens[position - 1] + 1)
      }
      #expect(source == (pack.tokens[start] >= 100_000 ? 1 : 0))
      start += Int(length)
    }
  }

  @Test func labelsFollowTheMask() throws {
    let samples = numberedSamples([5], isLabel: { $0 == 0 || $0 >= 3 })
    let loader = try DataLoader(
      sources: [DataSource(name: "one", samples: samples)], options: options(packsPerStep: 1))
    #expect(try loader.nextStep()[0].labels == [-100, -100, -100, 3, 4])
  }

  @Test func theFirstTokenOfEachPieceOfACutSampleCarriesNoLoss() throws {
    var options = options(.split, packsPerStep: 3)
    options.packing.sequenceLength = 3
    options.epochLimit = 1
    options.isShuffled = false
    let loader = try DataLoader(
      sources: [DataSource(name: "one", samples: numberedSamples([7]))], options: options)
    #expect(
      try loader.nextStep().map(\.labels) == [[-100, 1, 2], [-100, 4, 5], [-100]])
  }

  @Test(arguments: PackingMode.allCases, [0, 1, 3])
  func resumingAnywhereEqualsTheUninterruptedRun(mode: PackingMode, prefetch: Int) throws {
    var options = options(mode)
    options.prefetchCount = prefetch
    let stepCount = 47
    let whole = try DataLoader(sources: sources(), options: options)
    var states = [whole.state]
    var steps: [[Pack]] = []
    for _ in 0..<stepCount {
      steps.append(try whole.nextStep())
      states.append(whole.state)
    }
    #expect(whole.state.epoch >= 1, "the run must cross an epoch")
    for start in [0, 1, 13, 29, 46] {
      let saved = try JSONEncoder().encode(states[start])
      let loader = try DataLoader(sources: sources(), options: options)
      _ = try loader.nextStep()
      try loader.restore(JSONDecoder().decode(LoaderState.self, from: saved))
      for step in start..<stepCount {
        #expect(try loader.nextStep() == steps[step], "step \(step) from \(start)")
        #expect(loader.state == states[step + 1])
      }
    }
  }

  @Test func theOrderDoesNotDependOnSteps() throws {
    let whole = try packs(DataLoader(sources: sources(), options: options()), steps: 60)
    let sixes = try DataLoader(sources: sources(), options: options(packsPerStep: 6))
    #expect(try packs(sixes, steps: 40) == whole)
    // Six packs a step, then resumed with four.
    let first = try DataLoader(sources: sources(), options: options(packsPerStep: 6))
    var joined = try packs(first, steps: 20)
    let second = try DataLoader(sources: sources(), options: options(packsPerStep: 4))
    try second.restore(first.state)
    joined += try packs(second, steps: 30)
    #expect(joined == whole)
  }

  /// The same packs in every epoch, in steps of alike packs, and exact after resuming.
  @Test func groupedStepsHoldThePacksOfTheirEpoch() throws {
    let cost = StepCost(
      linearPerToken: 1, headPerToken: 0, attention: [AttentionCost(perPair: 1)])
    var grouped = options(packsPerStep: 4)
    grouped.grouping = PackGrouping(cost: cost, windowStepCount: 50)
    grouped.epochLimit = 2
    var plain = options(packsPerStep: 4)
    plain.epochLimit = 2
    let key: (Pack) -> String = { "\($0.tokens)" }
    func steps(_ options: DataLoaderOptions) throws -> [[Pack]] {
      let loader = try DataLoader(sources: sources(), options: options)
      var steps: [[Pack]] = []
      while case let step = try loader.nextStep(), !step.isEmpty { steps.append(step) }
      return steps
    }
    let (ours, theirs) = (try steps(grouped), try steps(plain))
    #expect(ours != theirs)
    #expect(ours.joined().map(key).sorted() == theirs.joined().map(key).sorted())
    func spread(_ steps: [[Pack]]) -> Double {
      steps.dropLast().reduce(0) { sum, step in
        let costs = step.map { pack in
          cost.cost(sequenceLengths: pack.sampleLengths.map { Int($0) }, lossTokens: 0)
        }
        return sum + (costs.max() ?? 0) / max(costs.reduce(0, +) / Double(costs.count), 1)
      }
    }
    #expect(spread(ours) < spread(theirs))
    let first = try DataLoader(sources: sources(), options: grouped)
    for _ in 0..<3 { _ = try first.nextStep() }
    let second = try DataLoader(sources: sources(), options: grouped)
    try second.restore(first.state)
    #expect(try second.nextStep() == ours[3])
    let other = try DataLoader(sources: sources(), options: plain)
    let error = #expect(throws: LoaderError.self) { try other.restore(first.state) }
    #expect(error?.message.contains("grouped over 50") == true)
  }

  @Test func dropLastStartsEachEpochWithAFreshStep() throws {
    var dropping = options(packsPerStep: 7)
    dropping.epochEnd = .dropLast
    dropping.epochLimit = 3
    let loader = try DataLoader(sources: sources(), options: dropping)
    var stepCount = 0
    while case let step = try loader.nextStep(), !step.isEmpty {
      #expect(step.count == 7)
      stepCount += 1
    }
    let expected = try (0..<3).reduce(0) { $0 + (try loader.packCount(epoch: $1)) / 7 }
    #expect(stepCount == expected)
    #expect(try loader.stepCount(epochs: 3) == expected)
  }

  @Test func wrapFillsTheStepFromTheNextEpochAndEndsWithAPartialOne() throws {
    var wrapping = options(packsPerStep: 7)
    wrapping.epochLimit = 3
    let loader = try DataLoader(sources: sources(), options: wrapping)
    var sizes: [Int] = []
    while case let step = try loader.nextStep(), !step.isEmpty {
      sizes.append(step.count)
    }
    let total = try (0..<3).reduce(0) { $0 + (try loader.packCount(epoch: $1)) }
    #expect(sizes.dropLast().allSatisfy { $0 == 7 })
    #expect(sizes.reduce(0, +) == total)
    #expect(try loader.stepCount(epochs: 3) == sizes.count)
  }

  @Test func oneShortSampleServesEveryStep() throws {
    let loader = try DataLoader(
      sources: [DataSource(name: "one", samples: numberedSamples([2]))],
      options: options(packsPerStep: 3))
    #expect(try loader.nextStep().count == 3)
    #expect(loader.state.epoch == 2)
    #expect(loader.state.samplesConsumed == 3)
  }

  @Test func changedDataOrSettingsRefuseTheState() throws {
    let loader = try DataLoader(sources: sources(), options: options())
    _ = try loader.nextStep()
    let state = loader.state
    var other = options()
    other.seed = 41
    other.packing.sequenceLength = 31
    let error = #expect(throws: LoaderError.self) {
      try DataLoader(sources: sources(), options: other).restore(state)
    }
    #expect(error?.code == .dataChanged)
    #expect(error?.message.contains("seed 41, was 37") == true)
    #expect(error?.message.contains("to 31 tokens") == true)
    var changed = sources()
    changed[1].samples = numberedSamples(Array(Self.lengths[100...]), first: 99)
    let contents = #expect(throws: LoaderError.self) {
      try DataLoader(sources: changed, options: options()).restore(state)
    }
    #expect(contents?.message.contains("contents") == true)
  }

  @Test(arguments: [[], [0, 0]])
  func dataWithoutTokensIsAnError(_ lengths: [Int]) {
    let error = #expect(throws: LoaderError.self) {
      try DataLoader(
        sources: [DataSource(name: "empty", samples: numberedSamples(lengths))],
        options: options())
    }
    #expect(error?.code == .emptyData)
  }

  @Test func noSourcesAndUnusableOptionsAreErrors() {
    #expect(throws: LoaderError.self) { try DataLoader(sources: [], options: options()) }
    var wrong = options(packsPerStep: 4)
    wrong.prefetchCount = -1
    let error = #expect(throws: LoaderError.self) {
      try DataLoader(sources: sources(), options: wrong)
    }
    #expect(error?.message.contains("prefetch") == true)
  }

  @Test func overlongSamplesAreFoundBeforeTheFirstStep() {
    let error = #expect(throws: LoaderError.self) {
      try DataLoader(
        sources: [DataSource(name: "long", samples: numberedSamples([31, 37]))],
        options: options())
    }
    #expect(error?.code == .sampleTooLong)
  }

  @Test func manyLoadersMayBeDroppedInTheMiddle() throws {
    for round in 0..<20 {
      let loader = try DataLoader(sources: sources(), options: options())
      for _ in 0..<(round % 3) { _ = try loader.nextStep() }
    }
  }

  /// Positions that were saved with one number of packs per step are gone on from with another.
  @Test(arguments: [EpochEnd.wrap, .dropLast], [1, 3, 7])
  func stepsLeftAreThoseThatFollow(end: EpochEnd, packsPerStep: Int) throws {
    var before = options(packsPerStep: 5)
    before.epochLimit = 2
    let first = try DataLoader(sources: sources(), options: before)
    #expect(try first.stepsLeft(epochs: 2) == first.stepCount(epochs: 2))
    while case let step = try first.nextStep(), !step.isEmpty {
      var after = options(packsPerStep: packsPerStep)
      (after.epochEnd, after.epochLimit) = (end, 2)
      let second = try DataLoader(sources: sources(), options: after)
      try second.restore(first.state)
      let left = try second.stepsLeft(epochs: 2)
      var count = 0
      while case let step = try second.nextStep(), !step.isEmpty { count += 1 }
      #expect(count == left)
      #expect(!second.isPast(epochs: 2))
    }
    #expect(try first.stepsLeft(epochs: 2) == 0)
    #expect(try first.stepsLeft(epochs: 1) == 0)
    #expect(first.isPast(epochs: 1) && !first.isPast(epochs: 2))
  }

  @Test func packsWithoutLabelsAreRefusedAboveTheShareByFile() throws {
    // Of each sample of 4 packs the last has labels.
    let samples = (0..<7).map { index in
      TokenizedSample(
        tokens: (0..<44).map { Int32(100 * index + $0) }, lossMask: (0..<44).map { $0 >= 34 })
    }
    let origins = (0..<7).map { SampleOrigin(file: $0 < 5 ? "a.jsonl" : "b.jsonl", line: $0 + 1) }
    let source = DataSource(name: "x", samples: InMemorySamples(samples, origins: origins))
    var options = DataLoaderOptions(
      packing: PackPlanner(mode: .split, sequenceLength: 11, lookAhead: 1), packsPerStep: 1,
      seed: 3, isShuffled: false, maximumMaskedShare: 0.75)
    _ = try DataLoader(sources: [source], options: options)
    options.maximumMaskedShare = 0.74
    let error = #expect(throws: LoaderError.self) {
      try DataLoader(sources: [source], options: options)
    }
    #expect(error?.code == .mostlyMasked)
    #expect(error?.message.contains("21 of 28 packs have no token with a loss") == true)
    #expect(error?.message.hasSuffix("By file: a.jsonl: 15; b.jsonl: 6") == true)
  }
}
