import Testing

@testable import XTunerData

@Suite struct SamplePiecesTests {
  private let base = numberedSamples([7, 0, 3, 10, 6], isLabel: { $0 != 4 })

  @Test func longSamplesBecomePiecesAndAllTokensStay() {
    let pieces = SamplePieces(of: base, limit: 3)
    let tokens = (0..<pieces.count).map { pieces.tokensAndLabels(at: $0).tokens }
    // The last tokens of the first and of the fourth sample would be pieces of one token.
    #expect(
      tokens == [
        [0, 1, 2], [3, 4, 5], [], [2000, 2001, 2002], [3000, 3001, 3002], [3003, 3004, 3005],
        [3006, 3007, 3008], [4000, 4001, 4002], [4003, 4004, 4005],
      ])
    #expect((0..<pieces.count).map(pieces.length(at:)) == tokens.map(\.count))
  }

  @Test func theFirstTokenOfEachPieceCarriesNoLossAndMasksStay() {
    let pieces = SamplePieces(of: base, limit: 3)
    #expect(pieces.tokensAndLabels(at: 1).labels == [-100, -100, 5])
    #expect((0..<pieces.count).map(pieces.lossTokenCount(at:)) == [2, 1, 0, 2, 2, 1, 2, 2, 1])
  }

  @Test func hashesTellPiecesApartAndAreThoseOfWholeSamples() {
    let long = InMemorySamples([
      TokenizedSample(
        tokens: [Int32](repeating: 5, count: 12), lossMask: [Bool](repeating: true, count: 12))
    ])
    let pieces = SamplePieces(of: long, limit: 4)
    #expect(Set((0..<3).map(pieces.contentHash(at:))).count == 3)
    let whole = SamplePieces(of: base, limit: 11)
    #expect((0..<5).map(whole.contentHash(at:)) == (0..<5).map(base.contentHash(at:)))
  }

  @Test func aSourceWhoseSamplesFitIsLeftAsItIs() {
    let source = DataSource(name: "a", samples: base, weight: 3)
    #expect(source.cut(toAtMost: 10).samples is InMemorySamples)
    let cut = source.cut(toAtMost: 9)
    #expect(cut.samples is SamplePieces)
    #expect(cut.weight == 3 && cut.name == "a")
  }

  /// Whatever place a flag has in the words that are hashed, and however they start.
  @Test(arguments: [1, 63, 64, 65, 129])
  func labelHashesCoverEveryFlagOfARange(count: Int) {
    func hash(_ flags: [Bool], from start: Int) -> UInt64 {
      let mask = [Bool](repeating: true, count: start) + flags
      let sample = TokenizedSample(
        tokens: [Int32](repeating: 1, count: mask.count), lossMask: mask)
      return InMemorySamples([sample]).labelHash(at: 0, range: start..<mask.count)
    }
    let none = [Bool](repeating: false, count: count)
    var hashes: Set<UInt64> = [hash(none, from: 0)]
    for place in 0..<count {
      var flags = none
      flags[place] = true
      hashes.insert(hash(flags, from: 0))
      #expect(hash(flags, from: 5) == hash(flags, from: 0))
    }
    #expect(hashes.count == count + 1)
  }
}
