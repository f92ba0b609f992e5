public import Torch
public import XTunerNN

// Shape legend for this file:
//   T tokens   D hidden   E experts   K experts a token

/// Chooses the experts of each token and how much each contributes.
///
/// Weights, scores and mixing weights are float32 whatever the activation dtype: in bfloat16
/// near-ties are rounded together, and the same token may then route differently on two ranks.
public final class Router: Module {
  /// How scores become a choice.
  public struct Options: Sendable, Hashable {
    /// What is done to the logits.
    public enum Scoring: String, Sendable, Hashable, CaseIterable {
      /// A softmax over all experts.
      case softmax
      /// A sigmoid for each expert.
      case sigmoid
      /// Top-k of the logits, then a softmax over the chosen ones.
      case softmaxAfterTopK
    }

    /// What is done to the logits.
    public var scoring: Scoring
    /// Experts.
    public var expertCount: Int
    /// Experts a token.
    public var expertsPerToken: Int
    /// Whether the chosen weights are divided by their sum.
    public var normalizesWeights: Bool
    /// Factor of the weights.
    public var scalingFactor: Double
    /// Groups of experts, of which `keptGroupCount` may be chosen from; 1 for no groups.
    public var groupCount: Int
    /// Groups that experts are chosen from, best first.
    public var keptGroupCount: Int
    /// Whether a bias without gradient is added to the scores when experts are chosen.
    public var hasSelectionBias: Bool
    /// Whether the projection has a bias.
    public var hasBias: Bool

    /// All parts of the rule.
    public init(
      scoring: Scoring, expertCount: Int, expertsPerToken: Int, normalizesWeights: Bool,
      scalingFactor: Double = 1, groupCount: Int = 1, keptGroupCount: Int = 1,
      hasSelectionBias: Bool = false, hasBias: Bool = false
    ) {
      self.scoring = scoring
      self.expertCount = expertCount
      self.expertsPerToken = expertsPerToken
      self.normalizesWeights = normalizesWeights
      self.scalingFactor = scalingFactor
      self.groupCount = groupCount
      self.keptGroupCount = keptGroupCount
      self.hasSelectionBias = hasSelectionBias
      self.hasBias = hasBias
    }
  }

  /// The result of one pass.
  public struct Output {
    /// Mixing weights, `[T, K]` float32, differentiable.
    public let weightsTK: Tensor
    /// Logits, `[T, E]` float32.
    public let logitsTE: Tensor
    /// Scores of all experts, `[T, E]` float32: what the balance loss averages.
    public let scoresTE: Tensor

    /// The log-sum-exp of each token's logits, `[T]`, where the scores were made with it.
    let logSumExpT: Tensor?

    /// The sum over tokens of each expert's score, `[E]`.
    public var scoreSumsE: Tensor { scoresTE.sum(dims: [0]) }

    /// The sum over tokens of the squared log-sum-exp of the logits, a scalar.
    public var squaredLogSumExp: Tensor {
      let logSumExpT = logSumExpT ?? logitsTE.logSumExp(dims: [-1], keepDim: false)
      return (logSumExpT * logSumExpT).sum()
    }

    /// The choice, with the orders derived from it.
    public let routing: RoutingRecord
  }

  let weight: Parameter
  let bias: Parameter?
  let selectionBias: Parameter?
  let options: Options

  /// Declares the weight `[E, D]` float32 and, where asked for, biases.
  public init(
    _ name: String, hiddenSize: Int, options: Options, standardDeviation: Double
  ) {
    self.options = options
    self.weight = Parameter(
      "\(name).weight", shape: [options.expertCount, hiddenSize], kind: .matrix,
      initializer: .normal(standardDeviation: standardDeviation), precision: .full)
    self.bias =
      options.hasBias
      ? Parameter(
        "\(name).bias", shape: [options.expertCount], kind: .bias, initializer: .zeros,
        precision: .full) : nil
    self.selectionBias =
      options.hasSelectionBias
      ? Parameter(
        "\(name).selectionBias", shape: [options.expertCount], kind: .bias, initializer: .zeros,
        role: .replicated, precision: .full) : nil
  }

  /// The weight and biases.
  public var parameters: [Parameter] {
    [weight] + (bias.map { [$0] } ?? []) + (selectionBias.map { [$0] } ?? [])
  }

  /// Routes `hiddenTD`; with `stored` the experts are those of an earlier pass and only the weights
  /// are computed.
  public func callAsFunction(
    _ hiddenTD: Tensor, stored: RoutingRecord? = nil, forced: ForcedRouting? = nil
  ) -> Output {
    let logitsTE = Tensor.linear(hiddenTD.to(.float32), weight: weight.value, bias: bias?.value)
    let rule = options.scoring.rule
    let (scoresTE, logSumExpT) = rule.scores(logitsTE)
    let routing =
      stored
      ?? RoutingRecord(
        expertsTK: forced?.experts(
          tokenCount: hiddenTD.size(0), expertCount: options.expertCount,
          expertsPerToken: options.expertsPerToken, on: hiddenTD.device)
          ?? chosenExperts(rule.ranking(scoresTE: scoresTE, logitsTE: logitsTE)),
        expertCount: options.expertCount)
    var weightsTK = rule.weights(
      scoresTE: scoresTE, logitsTE: logitsTE, expertsTK: routing.expertsTK)
    if options.normalizesWeights {
      let sum = weightsTK.sum(dims: [-1], keepDim: true)
      weightsTK =
        weightsTK / (rule.sumEpsilon > 0 ? sum.adding(scalar: .real(rule.sumEpsilon)) : sum)
    }
    if options.scalingFactor != 1 { weightsTK = weightsTK * options.scalingFactor }
    return Output(
      weightsTK: weightsTK, logitsTE: logitsTE, scoresTE: scoresTE, logSumExpT: logSumExpT,
      routing: routing)
  }

  /// The chosen experts, `[T, K]`; no gradient flows through a choice.
  private func chosenExperts(_ rankingTE: Tensor) -> Tensor {
    withoutGradients {
      var rankingTE = rankingTE
      if let selectionBias { rankingTE = rankingTE + selectionBias.value }
      if options.groupCount > 1 { rankingTE = maskedToBestGroups(rankingTE) }
      return rankingTE.routedTopK(options.expertsPerToken)
    }
  }

  /// Scores outside the best groups become -infinity; a group's score is the sum of its two best.
  private func maskedToBestGroups(_ scoresTE: Tensor) -> Tensor {
    let (tokenCount, groups) = (scoresTE.size(0), options.groupCount)
    let grouped = scoresTE.view([tokenCount, groups, options.expertCount / groups])
    let groupScores = grouped.topK(2, dim: -1, isLargest: true, isSorted: false).values
      .sum(dims: [-1])
    let kept = groupScores.topK(options.keptGroupCount, dim: -1, isLargest: true, isSorted: false)
      .indices
    let isHidden = Tensor.ones([tokenCount, groups], dtype: .bool, device: scoresTE.device)
    isHidden.scatter(dim: 1, index: kept, value: 0)
    return grouped.maskedFill(where: isHidden.unsqueezed(dim: 2), value: .real(-.infinity))
      .view([tokenCount, options.expertCount])
  }
}
