import Foundation
import Testing

@testable import XTunerGeneration

@Suite struct TokenSamplerTests {
  private func kept(
    _ logits: [Float], temperature: Double = 1, topP: Double = 1, topK: Int? = nil
  ) -> [Int] {
    let options = SamplingOptions(temperature: temperature, topP: topP, topK: topK)
    return logits.withUnsafeBufferPointer {
      TokenSampler(options).kept($0, largest: Double(logits.max()!)).map(\.token)
    }
  }

  private func choose(_ logits: [Float], _ options: SamplingOptions, _ number: Double) -> Int? {
    logits.withUnsafeBufferPointer { TokenSampler(options).choose($0) { number } }
  }

  /// Probabilities 0.1, 0.4, 0.2, 0.3 in this order.
  private let logits: [Float] = [0.1, 0.4, 0.2, 0.3].map { Float(log($0)) }

  @Test func topKKeepsTheLargestAndTheirEquals() {
    #expect(kept(logits, topK: 1) == [1])
    #expect(kept(logits, topK: 3) == [1, 2, 3])
    #expect(kept(logits, topK: 9) == [0, 1, 2, 3])
    #expect(kept([2, 1, 2, 0], topK: 1) == [0, 2])
    #expect(kept([5, 4, 3, 4], topK: 2) == [0, 1, 3])
  }

  @Test func topPKeepsTheFewestThatReachTheShare() {
    #expect(kept(logits, topP: 0.39) == [1])
    #expect(kept(logits, topP: 0.41) == [1, 3])
    #expect(kept(logits, topP: 0.69) == [1, 3])
    #expect(kept(logits, topP: 0.71) == [1, 3, 2])
    #expect(kept(logits, topP: 0.95) == [1, 3, 2, 0])
    #expect(kept(logits, topP: 1e-12) == [1])
  }

  @Test func topPCountsTheShareAmongThoseThatTopKKept() {
    // Of 0.4 and 0.3 the first has 4/7 = 0.571.
    #expect(kept(logits, topP: 0.57, topK: 2) == [1])
    #expect(kept(logits, topP: 0.58, topK: 2) == [1, 3])
  }

  @Test func temperatureComesBeforeTheFilters() {
    // Squared probabilities: 1, 16, 4, 9 of 30.
    #expect(kept(logits, temperature: 0.5, topP: 0.53) == [1])
    #expect(kept(logits, temperature: 0.5, topP: 0.54) == [1, 3])
  }

  @Test func greedyTakesTheFirstOfEquals() {
    #expect(choose([1, 7, 7, -.infinity], .greedy(), .nan) == 1)
  }

  @Test func logitsThatAreNotFiniteAreNotChosenFrom() {
    #expect(choose([1, .nan, 2], .greedy(), 0) == nil)
    #expect(choose([1, .infinity, 2], SamplingOptions(), 0) == nil)
    #expect(choose([-.infinity, -.infinity], SamplingOptions(), 0) == nil)
    #expect(choose([-.infinity, -3e38, -.infinity], SamplingOptions(), 0.999) == 1)
  }

  @Test func theNumberPicksByCumulativeProbability() {
    for (number, token) in [(0, 0), (0.09, 0), (0.11, 1), (0.49, 1), (0.51, 2), (0.99, 3)] {
      #expect(choose(logits, SamplingOptions(), number) == token, "\(number)")
    }
  }

  @Test func frequenciesFollowTheProbabilities() {
    var counts = [0, 0, 0, 0]
    let sampleCount = 20_000
    for occurrence in 0..<sampleCount {
      var random = SequenceRandom(seed: 7, prompt: [1, 2], occurrence: occurrence)
      counts[choose(logits, SamplingOptions(), random.next())!] += 1
    }
    let statistic = zip(counts, [0.1, 0.4, 0.2, 0.3]).reduce(0.0) { sum, pair in
      let expected = pair.1 * Double(sampleCount)
      return sum + pow(Double(pair.0) - expected, 2) / expected
    }
    // 16.27 is passed once in a thousand with 3 degrees of freedom.
    #expect(statistic < 16.27, "\(counts)")
  }

  @Test func numbersOfOneSequenceAreUniform() {
    var random = SequenceRandom(seed: 1, prompt: [], occurrence: 0)
    var counts = Array(repeating: 0, count: 17)
    for _ in 0..<17_000 { counts[Int(random.next() * 17)] += 1 }
    let statistic = counts.reduce(0.0) { $0 + pow(Double($1) - 1000, 2) / 1000 }
    // 39.25 is passed once in a thousand with 16 degrees of freedom.
    #expect(statistic < 39.25, "\(counts)")
  }
}
