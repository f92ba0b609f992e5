import Foundation
package import XTunerData

/// Packs of log-normal lengths, as fine-tuning data has them: many short samples, a few very long.
package struct BalanceWorkload: CustomStringConvertible {
  package var sequenceLength: Int
  package var medianLength: Double
  package var sigma: Double

  package static let chats = BalanceWorkload(sequenceLength: 4096, medianLength: 400, sigma: 1)
  package static let documents = BalanceWorkload(
    sequenceLength: 32_768, medianLength: 1000, sigma: 1.5)

  package var description: String {
    "packs of \(sequenceLength), median \(Int(medianLength)), sigma \(sigma)"
  }

  /// The shapes of Qwen3-30B-A3B: 2.73e9 active parameters without embedding and head; 48 layers
  /// with 32 heads of 128 for queries and values.
  package static let cost = StepCost(
    linearPerToken: 6 * 2.73e9, headPerToken: 6 * 151_936 * 2048,
    attention: [AttentionCost(perPair: 48 * 6 * 32 * 256)])

  /// The first packs of an epoch, which take the longest samples out of the look-ahead, are left
  /// out: they are more alike than all later ones.
  private static let skippedCount = 4096

  /// Lengths of the samples of each of `count` packs.
  package func packs(count: Int, seed: UInt64) throws -> [[Int]] {
    let end = Self.skippedCount + count
    var generator = SplitMix64(seed: seed)
    let mean = min(medianLength * exp(sigma * sigma / 2), Double(sequenceLength))
    // A quarter more samples than the mean asks for, since the tail is cut off.
    let sampleCount = Int(1.25 * Double(end * sequenceLength) / mean)
    let lengths = (0..<sampleCount).map { _ -> Int32 in
      let radius = (-2 * log(1 - Double.random(in: 0..<1, using: &generator))).squareRoot()
      let normal = radius * cos(2 * .pi * Double.random(in: 0..<1, using: &generator))
      return Int32(min(max(medianLength * exp(sigma * normal), 1), Double(sequenceLength)))
    }
    let plan = try PackPlanner(mode: .bestFit, sequenceLength: sequenceLength)
      .plan(lengths: lengths, order: Array(0..<Int32(sampleCount)))
    precondition(plan.packCount >= end, "\(plan.packCount) packs of \(end)")
    return (Self.skippedCount..<end).map { plan.pieceLengths(inPack: $0).map(Int.init) }
  }
}
