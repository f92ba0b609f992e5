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

/// The steps of a run, from where its setup stands to the last one or a stop.
final class StepLoop {
  /// Consecutive updates without finite gradients after which a run stops.
  static let maximumConsecutiveSkips = 10

  let setup: RunSetup
  let stopRequest: StopRequest

  var step: Int
  var skippedCount: Int
  var consecutiveSkips: Int
  var unlabelledCount: Int
  var lastCheckpointStep: Int?
  private var lastEvaluationStep: Int?

  /// Goes on where earlier sessions ended.
  init(_ setup: RunSetup, stopRequest: StopRequest) {
    self.setup = setup
    self.stopRequest = stopRequest
    let state = setup.state
    step = setup.step
    skippedCount = state?.skippedCount ?? 0
    consecutiveSkips = state?.consecutiveSkipCount ?? 0
    unlabelledCount = state?.unlabelledCount ?? 0
    lastCheckpointStep = state?.step
    lastEvaluationStep = setup.isEvaluated ? setup.step : nil
  }

  /// Trains until the last step or a stop request, and writes what the configuration asks for.
  func run() throws -> TrainingOutcome {
    let (ranks, engine, records) = (setup.place.ranks, setup.learner.engine, setup.records)
    let (configuration, stepCount) = (setup.place.configuration, setup.length.stepCount)
    var firstStep: Int?
    var finalLoss: Double?
    var isStopping = try ranks.agreeOnStop(stopRequest)
    while step < stepCount && !isStopping {
      let clock = ContinuousClock()
      let start = clock.now
      engine.instruments.timeline = setup.trace?.recorder(step: step + 1)
      let packs = try engine.instruments.timeline.record("next step", .data, lane: "schedule") {
        try setup.data.loader.nextStep()
      }
      if packs.isEmpty { break }
      let dataSeconds = (clock.now - start).seconds
      let report = try trainStep(packs, dataSeconds: dataSeconds, start: start)
      try setup.trace?.finish(step: step, isLast: step == stepCount || isStopping)
      firstStep = firstStep ?? step
      if report.lossTokens > 0 { finalLoss = report.loss }
      records.record(report)
      if step < stepCount {
        if isDue(configuration.evaluation.everySteps) { try evaluateOnce() }
        if isDue(configuration.checkpoint.everySteps) { try saveCheckpoint() }
      }
      try setup.writer.poll()
      isStopping = try ranks.agreeOnStop(stopRequest, unwritten: records.unwritten)
    }
    let isStopped = isStopping && step < stepCount
    // Here and not in the loop: the data may end, or nothing may have been left to train.
    if !isStopped { try evaluateOnce() }
    let isSaved = lastCheckpointStep == step
    if !isSaved && (isStopped || configuration.checkpoint.atEnd) { try saveCheckpoint() }
    try setup.writer.wait()
    records.progress.finish()
    try ranks.agree("write the chart") { try records.writeChart(step: step) }
    var outcome = TrainingOutcome(
      step: step, firstStep: firstStep, isStopped: isStopped, finalLoss: finalLoss,
      exportPath: nil, layout: setup.place.layout)
    if !isStopped && configuration.export.atEnd {
      try exportModel(to: setup.place.layout.export)
      outcome.exportPath = setup.place.layout.export
    }
    records.keep {
      try setup.place.log.write(
        .info, isStopped ? "run stopped" : "run finished",
        [
          "step": String(step), "first_step": firstStep.map(String.init) ?? "none",
          "reason": stopRequest.reason ?? "last step",
        ])
    }
    try ranks.agreeOnFiles(records.unwritten)
    ranks.mesh.shutDown()
    return outcome
  }

  // MARK: One step

  private func trainStep(
    _ packs: [Pack], dataSeconds: Double, start: ContinuousClock.Instant
  ) throws -> StepMetrics {
    // The same on all ranks, since each has the packs of all.
    guard packs.contains(where: \.hasTargets) else {
      return try passOver(packs, dataSeconds: dataSeconds, start: start)
    }
    let (batches, prediction) = ownMicroBatches(packs)
    let measured = try setup.learner.engine.accumulateGradients(batches)
    step += 1
    let rate = learningRate
    let timeline = setup.learner.engine.instruments.timeline
    let gradientNorm = try timeline.record("gradient norm", .optimizer, lane: "schedule") {
      try GradientNorm(setup.learner.prepared.units)
    }
    let norm = gradientNorm.value
    let isSkipped = try skips(batches, gradientNorm, loss: measured.loss)
    if !isSkipped {
      let limit = setup.place.configuration.training.maxGradientNorm ?? .infinity
      // 1e-6 as in torch.nn.utils.clip_grad_norm_.
      let scale = limit.isFinite ? min(1, limit / (norm + 1e-6)) : 1
      try timeline.record("update", .optimizer, lane: "schedule") {
        try setup.learner.optimizer.step(learningRate: rate, gradientScale: scale)
      }
    }
    let seconds = (ContinuousClock.now - start).seconds
    return try setup.meter.metrics(
      step: step, measured, prediction, norm: norm, rate: rate, seconds: seconds,
      dataSeconds: dataSeconds, isSkipped: isSkipped)
  }

  /// The micro-batches that this rank computes, in their order.
  private func ownMicroBatches(_ packs: [Pack]) -> ([MicroBatch], StepPrediction) {
    let (configuration, mesh) = (setup.place.configuration, setup.place.ranks.mesh)
    let size = configuration.training.microBatchPacks
    let groups = stride(from: 0, to: packs.count, by: size).map {
      Array(packs[$0..<min($0 + size, packs.count)])
    }
    let costs = groups.map { group in
      setup.cost.cost(
        sequenceLengths: group.flatMap(\.sampleLengths).map { Int($0) },
        lossTokens: group.reduce(0) { $0 + $1.labels.count { $0 != -100 } })
    }
    let (readers, interleave) = (mesh.dataRankCount, configuration.parallel.interleave)
    let assignment: StepAssignment =
      configuration.parallel.balance && readers > 1
      ? .balanced(costs: costs, rankCount: readers, interleave: interleave)
      : .inOrder(count: groups.count, rankCount: readers, interleave: interleave)
    let own = assignment.packs[mesh.dataRank].map { microBatch(groups[$0]) }
    return (own, assignment.prediction(costs: costs))
  }

  func microBatch(_ packs: [Pack]) -> MicroBatch {
    MicroBatch(packs, reduction: LossReduction(setup.place.configuration.loss.reduction))
  }

  /// The rate of the step under way.
  var learningRate: Double {
    setup.schedule.learningRate(step: setup.length.scheduledStep(step))
  }

  private func isDue(_ everySteps: Int?) -> Bool { everySteps.map { step % $0 == 0 } ?? false }

  /// Evaluates after this step, where that has not been done.
  private func evaluateOnce() throws {
    guard setup.data.evaluationLoader != nil, lastEvaluationStep != step else { return }
    try evaluate()
    lastEvaluationStep = step
  }
}
