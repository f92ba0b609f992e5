public import XTunerData
public import XTunerModels

extension StepCost {
  /// The work of training `model`, as its shapes say: 6 operations a parameter and token, and 6 times
  /// the sizes of a query and a value head for each head and pair of tokens that see each other.
  ///
  /// The first `recomputedLayerCount` layers run forward twice, which is a third more. The head only
  /// runs over tokens with a loss.
  public init(_ model: ModelConfiguration, recomputedLayerCount: Int = 0) {
    let headSize = model.vocabularySize * model.hiddenSize
    var recomputed = model
    recomputed.layers = Array(model.layers.prefix(recomputedLayerCount))
    // Both counts have one head and one last norm, which are in no layer.
    let headAndNormSize = headSize + model.hiddenSize
    let bodySize = model.computedParameterCount - headSize
    let recomputedSize = recomputed.computedParameterCount - headAndNormSize

    var perPair: [Int?: Double] = [:]
    for (index, layer) in model.layers.enumerated() {
      let passes: Double = index < recomputedLayerCount ? 4 : 3
      perPair[layer.attention.slidingWindow, default: 0] +=
        passes * layer.attention.operationsPerPair
    }
    let windows = perPair.keys.sorted { $0 ?? .max < $1 ?? .max }
    self.init(
      linearPerToken: 6 * Double(bodySize) + 2 * Double(recomputedSize),
      headPerToken: 6 * Double(headSize),
      attention: windows.map { AttentionCost(perPair: perPair[$0] ?? 0, window: $0) })
  }
}

extension AttentionConfiguration {
  /// Operations of the forward pass for a query and a token that it sees, over all heads: two a
  /// multiply-add, once for the score and once for the value.
  fileprivate var operationsPerPair: Double {
    switch self {
    case .groupedQuery(let attention):
      2 * Double(attention.headCount * 2 * attention.headSize)
    case .latent(let attention):
      2 * Double(attention.headCount * (attention.queryHeadSize + attention.valueHeadSize))
    }
  }
}
