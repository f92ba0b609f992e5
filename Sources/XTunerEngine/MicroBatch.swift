import Torch
package import XTunerConfiguration
import XTunerNN
import XTunerParallel

/// How a token's loss is weighted inside its sample.
package enum LossReduction: String, Sendable, CaseIterable {
  /// Every loss token counts the same.
  case token
  /// Every sample counts the same: 1/n for each of its n loss tokens.
  case sample
  /// Between the two: 1/sqrt(n).
  case square

  func weight(lossTokenCount: Int) -> Float {
    switch self {
    case .token: 1
    case .sample: 1 / Float(max(lossTokenCount, 1))
    case .square: 1 / Float(max(lossTokenCount, 1)).squareRoot()
    }
  }
}

/// One row of packed samples as the engine takes it, still on the host.
package struct MicroBatch: Sendable {
  /// All tokens, or those of this rank where a pack is spread over ranks.
  package var tokens: [Int32] = []
  /// The place of the first token in the pack.
  package var firstToken = 0
  /// Where samples start and end, from 0 to the token count.
  package var bounds: [Int] = [0]
  /// Positions whose next token is a target.
  package var targetPositions: [Int64] = []
  /// Those targets.
  package var targetTokens: [Int64] = []
  /// The weight of each target, not yet divided by the step's divisor.
  package var targetWeights: [Float] = []
  /// The data source of each sample.
  package var sources: [Int32] = []

  package init() {}

  /// Adds a sample.
  ///
  /// `labels` are unshifted, -100 where the token is no target; the first never is.
  package mutating func append(
    tokens sampleTokens: some RandomAccessCollection<Int32>,
    labels: some RandomAccessCollection<Int32>, reduction: LossReduction, source: Int32 = 0
  ) {
    precondition(sampleTokens.count == labels.count, "one label a token")
    let start = tokens.count
    tokens.append(contentsOf: sampleTokens)
    let firstTarget = targetPositions.count
    for (offset, label) in labels.dropFirst().enumerated() where label != -100 {
      targetPositions.append(Int64(start + offset))
      targetTokens.append(Int64(label))
    }
    let count = targetPositions.count - firstTarget
    let weight = reduction.weight(lossTokenCount: count)
    targetWeights.append(contentsOf: repeatElement(weight, count: count))
    bounds.append(tokens.count)
    sources.append(source)
  }

  /// The places of the tokens in the pack.
  package var tokenRange: Range<Int> { firstToken..<firstToken + tokens.count }

  /// The part of one of `count` ranks that share the pack.
  ///
  /// It is a slice of the tokens with their targets; bounds stay those of the whole pack.
  package func slice(_ index: Int, of count: Int) -> MicroBatch {
    guard count > 1 else { return self }
    let range = SequenceExchange.slices(tokenCount: tokens.count, count: count)[index]
    var part = MicroBatch()
    part.tokens = Array(tokens[range])
    part.firstToken = range.lowerBound
    part.bounds = bounds
    part.sources = sources
    for (place, position) in targetPositions.enumerated() where range.contains(Int(position)) {
      part.targetPositions.append(position - Int64(range.lowerBound))
      part.targetTokens.append(targetTokens[place])
      part.targetWeights.append(targetWeights[place])
    }
    return part
  }

  /// The sum of the targets' weights: this micro-batch's part of the step's divisor.
  package var weightSum: Double { targetWeights.reduce(0) { $0 + Double($1) } }

  /// All tokens as a tensor, `[T]` int64.
  func tokensT(on device: Device) -> Tensor { Tensor(tokens, device: device).to(.int64) }

  /// The targets with weights divided by `divisor`.
  func targets(divisor: Double, on device: Device) -> LinearCrossEntropy.Targets {
    LinearCrossEntropy.Targets(
      positionsN: Tensor(targetPositions, device: device),
      tokensN: Tensor(targetTokens, device: device),
      weightsN: Tensor(targetWeights.map { Float(Double($0) / divisor) }, device: device))
  }
}

extension LossReduction {
  package init(_ reduction: LossOptions.Reduction) {
    switch reduction {
    case .token: self = .token
    case .sample: self = .sample
    case .square: self = .square
    }
  }
}
