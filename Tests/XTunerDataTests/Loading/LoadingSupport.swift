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

/// Samples held in memory.
struct InMemorySamples: SampleStore {
  private let samples: [TokenizedSample]
  private let origins: [SampleOrigin]

  /// Makes a store; `origins` has one entry a sample or none at all.
  init(_ samples: [TokenizedSample], origins: [SampleOrigin] = []) {
    precondition(
      origins.isEmpty || origins.count == samples.count, "origins must be one a sample or none")
    self.samples = samples
    self.origins = origins
  }

  /// Samples in the store.
  var count: Int { samples.count }

  /// Tokens of a sample.
  func length(at index: Int) -> Int { samples[index].tokens.count }

  /// Tokens of a sample that carry loss.
  func lossTokenCount(at index: Int) -> Int { samples[index].lossTokenCount }

  /// A hash of the sample's token ids.
  func contentHash(at index: Int) -> UInt64 {
    XTunerData.contentHash(of: samples[index].tokens)
  }

  /// A hash of which tokens of `range` are labels.
  func labelHash(at index: Int, range: Range<Int>) -> UInt64 {
    let flags = samples[index].lossMask[range]
    return XTunerData.labelHash(bitCount: range.count) { word in
      let part = flags.dropFirst(64 * word).prefix(64)
      return part.reversed().reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
    }
  }

  /// The sample's record, if origins were given.
  func origin(at index: Int) -> SampleOrigin? {
    origins.isEmpty ? nil : origins[index]
  }

  /// Appends tokens `range` of a sample and their labels.
  func append(
    at index: Int, range: Range<Int>, tokens: inout [Int32], labels: inout [Int32]
  ) {
    let sample = samples[index]
    tokens.append(contentsOf: sample.tokens[range])
    for position in range {
      let isLabel = sample.lossMask[position] && position > range.lowerBound
      labels.append(isLabel ? sample.tokens[position] : TokenizedSample.ignoredLabel)
    }
  }
}
