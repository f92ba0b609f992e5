import Torch
import XTunerModels
import XTunerNN
import XTunerTrainer

/// The model, weights and tokens of `bench step`: those of the benchmark scripts of other engines,
/// number for number, so that the loss of the first step is the same everywhere.
struct BenchStepModel {
  /// The sizes of the model.
  struct Sizes {
    var layerCount: Int
    var hiddenSize: Int
    var expertCount: Int
    var expertsPerToken: Int
    var expertSize: Int
    var vocabularySize: Int
    var headCount: Int
    var keyValueHeadCount: Int
    var headSize: Int
    /// The intermediate size of a dense feed-forward layer in place of experts.
    var denseSize: Int?
  }

  let sizes: Sizes
  let prepared: PreparedModel
  private let cumulativeShares: [Double]
  private let tokenOfRank: [Int64]

  /// The model with its first weights: norms 1, matrices N(0, 0.02), the embedding N(0,
  /// `embeddingDeviation`), all rounded to bfloat16, each from the seed of its place in the file.
  init(_ sizes: Sizes, embeddingDeviation: Double, computeDType: DType, keepsMaster: Bool) {
    self.sizes = sizes
    var configuration =
      if let denseSize = sizes.denseSize {
        ModelConfiguration.qwen3(
          vocabularySize: sizes.vocabularySize, hiddenSize: sizes.hiddenSize,
          intermediateSize: denseSize, layerCount: sizes.layerCount, headCount: sizes.headCount,
          keyValueHeadCount: sizes.keyValueHeadCount, headSize: sizes.headSize, ropeBase: 10_000,
          tiesEmbeddings: false)
      } else {
        ModelConfiguration.qwen3MoE(
          vocabularySize: sizes.vocabularySize, hiddenSize: sizes.hiddenSize,
          expertCount: sizes.expertCount, expertsPerToken: sizes.expertsPerToken,
          expertSize: sizes.expertSize, layerCount: sizes.layerCount, headCount: sizes.headCount,
          keyValueHeadCount: sizes.keyValueHeadCount, headSize: sizes.headSize, ropeBase: 10_000)
      }
    configuration.normEpsilon = 1e-6
    // One optimizer group: the other engines decay every parameter.
    prepared = PreparedModel(
      configuration, computeDType: computeDType, isTrained: true, keepsMaster: keepsMaster,
      decays: { _ in true })
    // Word frequencies fall with the rank: 1 / (rank + 3.7), counted from 0.
    let ranks = Tensor.arange(from: 0, to: .integer(sizes.vocabularySize), dtype: .float64)
    let shares = ranks.adding(scalar: 3.7).reciprocal()
    cumulativeShares = shares.cumulativeSum(dim: 0).elements()
    totalShare = shares.sum().item()
    tokenOfRank =
      Tensor.randomPermutation(
        sizes.vocabularySize, generator: Generator(seed: 7918), dtype: .int64
      ).elements()
    setWeights(embeddingDeviation: embeddingDeviation)
  }

  private let totalShare: Double

  /// The tokens of a step, all of them one sample.
  func batch(length: Int, step: Int) -> MicroBatch {
    let generator = Generator(seed: UInt64(7919 + step))
    let numbers: [Double] = Tensor.randomUniform(
      [length], generator: generator, dtype: .float64
    ).elements()
    let tokens = numbers.map { Int32(tokenOfRank[rank(of: $0 * totalShare)]) }
    var batch = MicroBatch()
    batch.append(tokens: tokens, labels: tokens, reduction: .token)
    return batch
  }

  /// The first rank whose cumulative share reaches `target`.
  private func rank(of target: Double) -> Int {
    var (low, high) = (0, cumulativeShares.count)
    while low < high {
      let middle = (low + high) / 2
      if cumulativeShares[middle] < target { low = middle + 1 } else { high = middle }
    }
    return min(low, cumulativeShares.count - 1)
  }

  /// Model FLOPs of a training step: 2 a multiply-add, forward and twice that for backward, causal
  /// attention at half, nothing for recomputation.
  func stepOperations(length: Int) -> Double {
    let (hidden, heads) = (sizes.hiddenSize, sizes.headCount * sizes.headSize)
    let keyValues = 2 * sizes.keyValueHeadCount * sizes.headSize
    let attention = hidden * (heads + keyValues) + heads * hidden
    let mixture =
      3 * hidden * sizes.expertSize * sizes.expertsPerToken + hidden * sizes.expertCount
    let feedForward = sizes.denseSize.map { 3 * hidden * $0 } ?? mixture
    let active = sizes.layerCount * (attention + feedForward) + sizes.vocabularySize * hidden
    return 6 * Double(active) * Double(length)
      + Double(6 * sizes.layerCount * heads) * Double(length) * Double(length)
  }

  // MARK: Weights

  private func setWeights(embeddingDeviation: Double) {
    let parameters = Dictionary(
      uniqueKeysWithValues: prepared.model.parameters.map { ($0.name, $0) })
    withoutGradients {
      var drawn: [(target: Tensor, numbers: Tensor, seed: UInt64)] = []
      let names = parameterNames
      for (index, name) in names.enumerated() {
        guard let parameter = parameters[name] else {
          preconditionFailure("the benchmark model has no parameter \(name)")
        }
        let target = prepared.units.writableView(of: parameter)
        guard parameter.kind != .norm else {
          target.fill(1)
          continue
        }
        drawn.append((target, Tensor.empty(parameter.shape, dtype: .float32), UInt64(index)))
        if drawn.count == Torch.threadCount || index + 1 == names.count {
          Tensor.fillNormal(
            drawn.map(\.numbers), seeds: drawn.map(\.seed), standardDeviation: 1)
          for (target, numbers, seed) in drawn {
            numbers.scale(by: .real(seed == 0 ? embeddingDeviation : 0.02))
            target.copy(from: numbers.to(.bfloat16))
          }
          drawn = []
        }
      }
    }
    prepared.units.publish()
  }

  /// Our names in the order in which the scripts hand out seeds.
  private var parameterNames: [String] {
    let feedForward =
      sizes.denseSize == nil
      ? ["router.weight", "experts.gateUp.weight", "experts.down.weight"]
      : ["feedForward.gateUp.weight", "feedForward.down.weight"]
    let attention = [
      "attention.query.weight", "attention.key.weight", "attention.value.weight",
      "attention.output.weight", "attention.queryNorm.weight", "attention.keyNorm.weight",
    ]
    let layers = (0..<sizes.layerCount).flatMap { layer in
      (attention + feedForward + ["attentionNorm.weight", "feedForwardNorm.weight"])
        .map { "layers.\(layer).\($0)" }
    }
    return ["embedding.weight"] + layers + ["finalNorm.weight", "head.weight"]
  }
}
