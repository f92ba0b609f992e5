import Torch
import XTunerData
import XTunerModels
import XTunerParallel

extension TrainingRun {
  /// The loss over the held-out packs, over all ranks.
  func evaluate() throws {
    guard let evaluationLoader else { return }
    let clock = ContinuousClock()
    let start = clock.now
    var own = [0.0, 0.0, 0.0]
    let (reader, readers) = (ranks.mesh.dataRank, ranks.mesh.dataRankCount)
    var packs = evaluationLoader.slice(rank: reader, of: readers).makeIterator()
    try prepared.units.quantize()
    // Ranks meet in every block: one that has a pack less than others runs along with nothing.
    for _ in 0..<(evaluationLoader.packCount + readers - 1) / readers {
      let batch = packs.next().map { microBatch([$0]) } ?? MicroBatch()
      let result = try engine.evaluate(batch)
      own[0] += result.lossSum
      own[1] += result.weightSum
      if ranks.mesh.sequence.index == 0 { own[2] += Double(batch.targetTokens.count) }
    }
    let sums = try ranks.mesh.world.gatherValues(own, label: "evaluation").reduce([0, 0, 0]) {
      zip($0, $1).map(+)
    }
    let result = EvaluationMetrics(
      step: step, loss: sums[1] > 0 ? sums[0] / sums[1] : .nan, lossTokens: Int(sums[2]),
      seconds: (clock.now - start).seconds)
    keep {
      try metrics?.write(result)
      try tensorBoard?.write(result)
    }
    progress.report(result)
    history.evaluation.append(.init(step: result.step, loss: result.loss))
    keep { try writeChart() }
  }
}
