import Testing

@testable import XTunerData

@Suite struct EvaluationLoaderTests {
  private let packing = PackPlanner(mode: .bestFit, sequenceLength: 23, lookAhead: 11)
  private let sources = [
    DataSource(
      name: "held out", samples: numberedSamples(randomLengths(41, in: 1...23, seed: 43)),
      weight: 0)
  ]

  @Test func givesEverySampleOnceAndTheSameEveryTime() throws {
    let loader = try EvaluationLoader(sources: sources, packing: packing)
    let packs = Array(loader)
    #expect(packs == Array(loader))
    #expect(packs.count == loader.packCount)
    #expect(packs.reduce(0) { $0 + $1.sampleLengths.count } == 41)
    #expect(packs[0].tokens[0] == 0)
  }

  @Test func ranksShareThePacks() throws {
    let loader = try EvaluationLoader(sources: sources, packing: packing)
    let joined = (0..<5).flatMap { Array(loader.slice(rank: $0, of: 5)) }
    #expect(joined == Array(loader))
  }

  @Test func moreRanksThanPacksLeaveSomeEmpty() throws {
    let loader = try EvaluationLoader(sources: sources, packing: packing, packLimit: 2)
    #expect((0..<5).map { loader.slice(rank: $0, of: 5).packCount } == [1, 1, 0, 0, 0])
    #expect((0..<5).flatMap { Array(loader.slice(rank: $0, of: 5)) } == Array(loader))
  }

  private let mixed = [
    DataSource(name: "long", samples: numberedSamples(randomLengths(97, in: 9...23, seed: 3))),
    DataSource(name: "none", samples: numberedSamples([])),
    DataSource(name: "few", samples: numberedSamples([5, 7, 11], first: 200)),
    DataSource(name: "short", samples: numberedSamples(Array(repeating: 3, count: 61), first: 300)),
  ]

  @Test func aPackHoldsSamplesOfOneSource() throws {
    let loader = try EvaluationLoader(sources: mixed, packing: packing)
    let packs = Array(loader)
    #expect(packs.allSatisfy { Set($0.sources).count == 1 })
    #expect(packs.reduce(0) { $0 + $1.sampleLengths.count } == 97 + 3 + 61)
    #expect(loader.sourceNames == ["long", "none", "few", "short"])
  }

  @Test func aLimitTakesAFixedSampleOverAllSources() throws {
    let all = try EvaluationLoader(sources: mixed, packing: packing)
    let some = try EvaluationLoader(sources: mixed, packing: packing, packLimit: 23)
    let packs = Array(some)
    #expect(packs.count == 23)
    #expect(packs == Array(try EvaluationLoader(sources: mixed, packing: packing, packLimit: 23)))
    func counts(_ packs: some Sequence<Pack>) -> [Int] {
      (0..<4).map { source in packs.count { Int($0.sources[0]) == source } }
    }
    let (whole, drawn) = (counts(all), counts(packs))
    let share = 23 / Double(all.packCount)
    for source in 0..<4 {
      #expect(abs(Double(drawn[source]) - share * Double(whole[source])) <= 1.5)
    }
    #expect(drawn[2] >= 1)
    // The first packs would be those of the longest samples.
    #expect(packs != Array(Array(all).prefix(23)))
    #expect(packs.prefix(drawn[0]).map(\.tokens) != all.prefix(drawn[0]).map(\.tokens))
    #expect((0..<5).flatMap { Array(some.slice(rank: $0, of: 5)) } == packs)
  }

  @Test func withFewerPacksThanSourcesTheLargestAreEvaluated() throws {
    let loader = try EvaluationLoader(sources: mixed, packing: packing, packLimit: 2)
    #expect(Array(loader).map { $0.sources[0] } == [0, 3])
  }

  @Test func emptyDataIsAnError() {
    #expect(throws: LoaderError.self) { try EvaluationLoader(sources: [], packing: packing) }
    #expect(throws: LoaderError.self) {
      try EvaluationLoader(sources: sources, packing: packing, packLimit: 0)
    }
  }

  @Test func rankSlicesCoverAllInOrder() {
    let items = Array(0..<11)
    #expect((0..<3).map { Array(rankSlice(items, rank: $0, of: 3)) }.flatMap { $0 } == items)
    #expect((0..<3).map { rankSlice(items, rank: $0, of: 3).count } == [4, 4, 3])
  }
}
