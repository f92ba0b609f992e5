import Torch
import XTunerEngine
import XTunerModels
import XTunerNN
import XTunerParallel

/// The model, weights and tokens of `bench step`: those of the benchmark scripts of other engines,
/// number for number, so that the loss of the first step is the same everywhere.
struct BenchStepModel {
  let configuration: ModelConfiguration
  let prepared: PreparedModel
  private let cumulativeShares: [Double]
  private let tokenOfRank: [Int64]

  /// The model with its first weights: norms 1, matrices N(0, 0.02), the embedding N(0,
  /// `embeddingDeviation`), all rounded to bfloat16, each from the seed of its place in the file.
  ///
  /// On a device they are drawn there: other numbers than a CPU's, and those that PyTorch draws on
  /// that device from the same seeds.
  init(
    _ configuration: ModelConfiguration, embeddingDeviation: Double, computeDType: DType,
    keepsMaster: Bool, float8: Set<Float8Module>, float8Products: Float8Products, device: Device
  ) {
    self.configuration = configuration
    // One optimizer group: the other engines decay every parameter.
    prepared = PreparedModel(
      configuration, computeDType: computeDType, isTrained: true, keepsMaster: keepsMaster,
      float8: float8, float8Products: float8Products, mesh: ProcessMesh(device: device),
      decays: { _ in true })
    // Word frequencies fall with the rank: 1 / (rank + 3.7), counted from 0.
    let ranks = Tensor.arange(from: 0, to: .integer(configuration.vocabularySize), dtype: .float64)
    let shares = ranks.adding(scalar: 3.7).reciprocal()
    cumulativeShares = shares.cumulativeSum(dim: 0).elements()
    totalShare = shares.sum().item()
    tokenOfRank =
      Tensor.randomPermutation(
        configuration.vocabularySize, generator: Generator(seed: 7918), dtype: .int64
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

  // MARK: Weights

  private func setWeights(embeddingDeviation: Double) {
    let parameters = Dictionary(
      uniqueKeysWithValues: prepared.model.parameters.map { ($0.name, $0) })
    withoutGradients {
      var matrices: [(target: Tensor, seed: UInt64)] = []
      for (index, name) in parameterNames.enumerated() {
        guard let parameter = parameters[name] else {
          preconditionFailure("the benchmark model has no parameter \(name)")
        }
        let target = prepared.units.writableView(of: parameter)
        if parameter.kind == .norm {
          target.fill(1)
        } else {
          matrices.append((target, UInt64(index)))
        }
      }
      let isHost = matrices[0].target.device.kind == .cpu
      for first in stride(from: 0, to: matrices.count, by: isHost ? Torch.threadCount : 1) {
        let group = matrices[first..<min(first + (isHost ? Torch.threadCount : 1), matrices.count)]
        let drawn = isHost ? drawOnHost(group) : group.map(drawOnDevice)
        for (matrix, numbers) in zip(group, drawn) {
          numbers.scale(by: .real(matrix.seed == 0 ? embeddingDeviation : 0.02))
          matrix.target.copy(from: numbers.to(.bfloat16))
        }
      }
    }
    prepared.units.publish()
  }

  /// Standard normal numbers, a thread for each matrix.
  private func drawOnHost(_ matrices: ArraySlice<(target: Tensor, seed: UInt64)>) -> [Tensor] {
    let numbers = matrices.map { Tensor.empty($0.target.shape, dtype: .float32) }
    Tensor.fillNormal(numbers, seeds: matrices.map(\.seed), standardDeviation: 1)
    return numbers
  }

  private func drawOnDevice(_ matrix: (target: Tensor, seed: UInt64)) -> Tensor {
    let device = matrix.target.device
    return .randomNormal(
      matrix.target.shape, generator: Generator(seed: matrix.seed, device: device),
      dtype: .float32, device: device)
  }

  /// Our names in the order in which the scripts hand out seeds.
  private var parameterNames: [String] {
    let feedForward =
      configuration.layers.contains { $0.feedForward.mixture != nil }
      ? ["router.weight", "experts.gateUp.weight", "experts.down.weight"]
      : ["feedForward.gateUp.weight", "feedForward.down.weight"]
    let attention = [
      "attention.query.weight", "attention.key.weight", "attention.value.weight",
      "attention.output.weight", "attention.queryNorm.weight", "attention.keyNorm.weight",
    ]
    let layers = configuration.layers.indices.flatMap { layer in
      (attention + feedForward + ["attentionNorm.weight", "feedForwardNorm.weight"])
        .map { "layers.\(layer).\($0)" }
    }
    return ["embedding.weight"] + layers + ["finalNorm.weight"]
      + (configuration.tiesEmbeddings ? [] : ["head.weight"])
  }
}
