import Torch
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun
import XTunerSystem

extension TrainingRun {
  /// The loss over the held-out packs, over all ranks: in total and of each source.
  func evaluate() throws {
    guard let evaluationLoader else { return }
    let clock = ContinuousClock()
    let start = clock.now
    let names = evaluationLoader.sourceNames
    // For each source the sum of the losses, that of their weights, and the count of the labels.
    var own = [Double](repeating: 0, count: 3 * names.count)
    let (reader, readers) = (ranks.mesh.dataRank, ranks.mesh.dataRankCount)
    var packs = evaluationLoader.slice(rank: reader, of: readers).makeIterator()
    try prepared.units.quantize()
    // Ranks meet in every block: one that has a pack less than others runs along with nothing.
    for _ in 0..<(evaluationLoader.packCount + readers - 1) / readers {
      let pack = packs.next()
      let batch = pack.map { microBatch([$0]) } ?? MicroBatch()
      let result = try engine.evaluate(batch)
      // A pack holds samples of one source only.
      guard let source = pack?.sources.first else { continue }
      let first = 3 * Int(source)
      own[first] += result.lossSum
      own[first + 1] += result.weightSum
      if ranks.mesh.sequence.index == 0 { own[first + 2] += Double(batch.targetTokens.count) }
    }
    let sums = try ranks.mesh.world.gatherValues(own, label: "evaluation").reduce(
      [Double](repeating: 0, count: own.count)
    ) { zip($0, $1).map(+) }
    let parts = names.indices.map { sums[3 * $0..<3 * $0 + 3].map(\.self) }
    let (lossSum, weightSum, count) = parts.reduce((0, 0, 0)) {
      ($0.0 + $1[0], $0.1 + $1[1], $0.2 + $1[2])
    }
    let result = EvaluationMetrics(
      step: step, loss: weightSum > 0 ? lossSum / weightSum : .nan, lossTokens: Int(count),
      seconds: (clock.now - start).seconds,
      sourceLosses: zip(names, parts).filter { $1[1] > 0 }.map { .init($0, $1[0] / $1[1]) })
    keep {
      try metrics?.write(result)
      try tensorBoard?.write(result)
    }
    progress.report(result)
    history.evaluation.append(.init(step: result.step, loss: result.loss))
    keep { try writeChart() }
  }
}
