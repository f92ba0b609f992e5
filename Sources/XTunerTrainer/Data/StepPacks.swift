public import XTunerData
import XTunerEngine
public import XTunerModels
import XTunerNN

extension Pack {
  /// Whether any token has a loss.
  var hasTargets: Bool {
    var start = 0
    for length in sampleLengths {
      // The first token of a sample is nobody's target.
      if labels[start..<start + Int(length)].dropFirst().contains(where: { $0 != -100 }) {
        return true
      }
      start += Int(length)
    }
    return false
  }
}

extension MicroBatch {
  /// The samples of all packs, in their order.
  init(_ packs: [Pack], reduction: LossReduction) {
    self.init()
    for pack in packs {
      var start = 0
      for (index, length) in pack.sampleLengths.enumerated() {
        let range = start..<start + Int(length)
        append(
          tokens: pack.tokens[range], labels: pack.labels[range], reduction: reduction,
          source: pack.sources[index])
        start = range.upperBound
      }
    }
  }
}

extension StepCost {
  /// The work of training `model`, as its shapes say: 6 operations a parameter and token, and 6 times
  /// the sizes of a query and a value head for each head and pair of tokens that see each other.
  ///
  /// The first `recomputedLayerCount` layers run forward twice, which is a third more. The head only
  /// runs over tokens with a loss.
  public init(_ model: ModelConfiguration, recomputedLayerCount: Int = 0) {
    let facts = model.facts
    let headSize = facts.headParameterCount
    let bodySize = facts.computedParameterCount - headSize
    let recomputedSize = facts.blocks.prefix(recomputedLayerCount)
      .reduce(0) { $0 + $1.activeParameterCount }

    var perPair: [Int?: Double] = [:]
    for (index, block) in facts.blocks.enumerated() {
      guard let work = block.attention else { continue }
      let passes: Double = index < recomputedLayerCount ? 4 : 3
      // Two operations a multiply-add, once for the score and once for the value.
      perPair[work.window, default: 0] += passes * 2 * Double(work.size)
    }
    let windows = perPair.keys.sorted { $0 ?? .max < $1 ?? .max }
    self.init(
      linearPerToken: 6 * Double(bodySize) + 2 * Double(recomputedSize),
      headPerToken: 6 * Double(headSize),
      attention: windows.map { AttentionCost(perPair: perPair[$0] ?? 0, window: $0) })
  }
}
