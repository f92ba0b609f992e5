import XTunerData
import XTunerEngine

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
  /// The micro-batches of a step's packs, in order.
  static func make(_ packs: [Pack], packsPerBatch: Int, reduction: LossReduction) -> [MicroBatch] {
    stride(from: 0, to: packs.count, by: packsPerBatch).map { first in
      var batch = MicroBatch()
      for pack in packs[first..<min(first + packsPerBatch, packs.count)] {
        var start = 0
        for (index, length) in pack.sampleLengths.enumerated() {
          let range = start..<start + Int(length)
          batch.append(
            tokens: pack.tokens[range], labels: pack.labels[range], reduction: reduction,
            source: pack.sources[index])
          start = range.upperBound
        }
      }
      return batch
    }
  }
}
