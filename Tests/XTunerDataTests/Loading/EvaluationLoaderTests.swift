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
