import Torch

// Shape legend for this file:
//   T tokens   E experts   K experts a token

/// How a router's logits become scores, a choice of experts and their weights.
protocol RoutingRule {
  /// The scores of all experts, `[T, E]`, which the balance loss averages, and the log-sum-exp of each
  /// token's logits, `[T]`, where they were made with it.
  func scores(_ logitsTE: Tensor) -> (scoresTE: Tensor, logSumExpT: Tensor?)
  /// What the largest are chosen of, `[T, E]`, before biases and groups.
  func ranking(scoresTE: Tensor, logitsTE: Tensor) -> Tensor
  /// The weights of the chosen experts, `[T, K]`.
  func weights(scoresTE: Tensor, logitsTE: Tensor, expertsTK: Tensor) -> Tensor
  /// What is added to the sum of the chosen weights before they are divided by it.
  var sumEpsilon: Double { get }
}

extension RoutingRule {
  func ranking(scoresTE: Tensor, logitsTE: Tensor) -> Tensor { scoresTE }

  func weights(scoresTE: Tensor, logitsTE: Tensor, expertsTK: Tensor) -> Tensor {
    scoresTE.gathered(dim: 1, index: expertsTK, sparseGradient: false)
  }

  var sumEpsilon: Double { 0 }
}

/// A softmax over all experts, then the largest are kept (Switch Transformer, arXiv 2101.03961; Qwen3).
struct SoftmaxRule: RoutingRule {
  func scores(_ logitsTE: Tensor) -> (scoresTE: Tensor, logSumExpT: Tensor?) {
    logitsTE.routerScores()
  }
}

/// A sigmoid for each expert, then the largest are kept (DeepSeek-V3, arXiv 2412.19437).
struct SigmoidRule: RoutingRule {
  func scores(_ logitsTE: Tensor) -> (scoresTE: Tensor, logSumExpT: Tensor?) {
    (logitsTE.sigmoid(), nil)
  }

  /// 1e-20 as in the published routers, where all chosen scores may underflow.
  var sumEpsilon: Double { 1e-20 }
}

/// The largest logits are kept, then a softmax over those (GPT-OSS).
struct SoftmaxAfterTopKRule: RoutingRule {
  func scores(_ logitsTE: Tensor) -> (scoresTE: Tensor, logSumExpT: Tensor?) {
    logitsTE.routerScores()
  }

  func ranking(scoresTE: Tensor, logitsTE: Tensor) -> Tensor { logitsTE }

  func weights(scoresTE: Tensor, logitsTE: Tensor, expertsTK: Tensor) -> Tensor {
    logitsTE.gathered(dim: 1, index: expertsTK, sparseGradient: false).softmax(dim: -1)
  }
}

extension Router.Options.Scoring {
  /// The rule itself.
  var rule: any RoutingRule {
    switch self {
    case .softmax: SoftmaxRule()
    case .sigmoid: SigmoidRule()
    case .softmaxAfterTopK: SoftmaxAfterTopKRule()
    }
  }
}
