import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun
import XTunerSystem
import XTunerTokenizers

extension StepLoop {
  /// The loss over the held-out packs, over all ranks: in total and of each source.
  func evaluate() throws {
    guard let evaluationLoader = setup.data.evaluationLoader else { return }
    let (mesh, learner) = (setup.place.ranks.mesh, setup.learner)
    let clock = ContinuousClock()
    let start = clock.now
    let names = evaluationLoader.sourceNames
    // For each source the sum of the losses, that of their weights, and the count of the labels.
    var own = [Double](repeating: 0, count: 3 * names.count)
    let (reader, readers) = (mesh.dataRank, mesh.dataRankCount)
    var packs = evaluationLoader.slice(rank: reader, of: readers).makeIterator()
    try learner.prepared.units.quantize()
    // Ranks meet in every block: one that has a pack less than others runs along with nothing.
    for _ in 0..<(evaluationLoader.packCount + readers - 1) / readers {
      let pack = packs.next()
      let batch = pack.map { microBatch([$0]) } ?? MicroBatch()
      let result = try learner.engine.evaluate(batch)
      // A pack holds samples of one source only.
      guard let source = pack?.sources.first else { continue }
      let first = 3 * Int(source)
      own[first] += result.lossSum
      own[first + 1] += result.weightSum
      if mesh.sequence.index == 0 { own[first + 2] += Double(batch.targetTokens.count) }
    }
    let sums = try mesh.world.gatherValues(own, label: "evaluation").reduce(
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
    setup.records.record(result)
  }

  /// Hands over a checkpoint of this step, after the one before is whole.
  func saveCheckpoint() throws {
    let (configuration, ranks) = (setup.place.configuration, setup.place.ranks)
    let (optimizer, records) = (setup.learner.optimizer, setup.records)
    // The previous one must be whole first: at most one is being written, and its error is not lost.
    try setup.writer.wait()
    try ranks.agree("write the metrics") {
      try setup.place.directory?.checkIsInPlace()
      if let unwritten = records.unwritten { throw unwritten }
      try records.metrics?.synchronize()
    }
    let includesMoments = configuration.checkpoint.savesOptimizer
    let (files, pieces) = UnitFiles.contents(
      optimizer.checkpointParts(includesMoments: includesMoments), mesh: ranks.mesh)
    var contents = try RunCheckpointContents(
      step: step, files: files, pieces: pieces,
      state: TrainingState(
        step: step, updateCount: optimizer.stepCount, skippedCount: skippedCount,
        consecutiveSkipCount: consecutiveSkips, unlabelledCount: unlabelledCount,
        optimizer: configuration.optimizer.name.rawValue, loader: setup.data.loader.state,
        hasMoments: includesMoments, currentDate: setup.data.prepared.template?.currentDate),
      configurationHash: configuration.hash,
      libraryVersions: ["libtorch": Torch.version, "xtuner": XTunerVersion.current])
    contents.modelFiles = setup.data.modelFiles
    // What has been skipped may go on being skipped: healthy ones must not make room for these.
    try setup.writer.submit(contents, displacesOlder: consecutiveSkips == 0)
    if !configuration.checkpoint.inBackground { try setup.writer.wait() }
    lastCheckpointStep = step
    records.keep {
      try setup.place.log.write(
        .info, "checkpoint submitted", ["step": String(step), "path": setup.store.path(step: step)])
      try records.writeChart(step: step)
    }
  }

  /// Writes the Hugging Face folder of the model as it is now.
  func exportModel(to path: String) throws {
    let (place, prepared) = (setup.place, setup.learner.prepared)
    try place.ranks.agree("look for the run directory") { try place.directory?.checkIsInPlace() }
    try place.ranks.agree("export the model") {
      try HFWeights.export(
        prepared.model, units: prepared.units, to: path,
        dtype: DType(place.configuration.model.dtype), overwrites: true,
        files: setup.data.modelFiles.besideConfiguration)
    }
  }
}
