@testable import XTunerData

/// Samples whose tokens say where they come from: `1000 * sample + position`.
func numberedSamples(
  _ lengths: [Int], first: Int = 0, isLabel: (Int) -> Bool = { _ in true }
) -> InMemorySamples {
  InMemorySamples(
    lengths.enumerated().map { index, length in
      TokenizedSample(
        tokens: (0..<length).map { Int32(1000 * (first + index) + $0) },
        lossMask: (0..<length).map(isLabel))
    })
}

func randomLengths(_ count: Int, in range: ClosedRange<Int>, seed: UInt64) -> [Int] {
  var generator = SplitMix64(seed: seed)
  return (0..<count).map { _ in Int.random(in: range, using: &generator) }
}
