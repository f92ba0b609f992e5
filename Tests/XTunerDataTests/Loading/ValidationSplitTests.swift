import Testing

@testable import XTunerData

@Suite struct ValidationSplitTests {
  private let samples = numberedSamples(randomLengths(2003, in: 1...3, seed: 47))

  private func firstTokens(_ store: some SampleStore) -> [Int32] {
    (0..<store.count).map { store.tokensAndLabels(at: $0).tokens[0] }
  }

  @Test func everySampleIsOnOneSide() throws {
    let (training, validation) = try samples.validationSplit(share: 0.1, seed: 5)
    #expect(training.count + validation.count == 2003)
    #expect((150...260).contains(validation.count), "\(validation.count)")
    #expect(
      Set(firstTokens(training) + firstTokens(validation)).count == 2003)
  }

  @Test func theSideOfASampleStaysWhenDataIsAdded() throws {
    let fewer = numberedSamples(randomLengths(1000, in: 1...3, seed: 47))
    let small = try firstTokens(fewer.validationSplit(share: 0.1, seed: 5).validation)
    let large = try firstTokens(samples.validationSplit(share: 0.1, seed: 5).validation)
    #expect(Array(large.prefix(small.count)) == small)
  }

  @Test func theSeedChoosesTheSplit() throws {
    let one = try firstTokens(samples.validationSplit(share: 0.1, seed: 5).validation)
    let two = try firstTokens(samples.validationSplit(share: 0.1, seed: 6).validation)
    #expect(one != two)
  }

  @Test func aShareOfZeroHoldsNothingOut() throws {
    #expect(try samples.validationSplit(share: 0, seed: 5).validation.count == 0)
  }

  @Test(arguments: [-0.1, 1, Double.nan])
  func sharesOutsideTheRangeAreErrors(share: Double) {
    #expect(throws: LoaderError.self) { try samples.validationSplit(share: share, seed: 5) }
  }
}
