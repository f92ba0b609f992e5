import Foundation
import Torch
import XTunerCheckpoint
import XTunerData
import XTunerModels
import XTunerNN
public import XTunerParallel
public import XTunerTokenizers

/// One run of `xtuner train`: data, model, steps, evaluation, checkpoints and export.
///
/// Synchronous, and confined to the thread that created it.
public final class TrainingRun {
  /// Consecutive updates without finite gradients after which a run stops.
  static let maximumConsecutiveSkips = 10

  let configuration: RunConfiguration
  let ranks: RunRanks
  /// What this rank computes on.
  var device: Device { ranks.mesh.device }
  let layout: RunLayout
  /// Nil on all ranks but 0, which owns the directory.
  let directory: RunDirectory?
  let log: RunLog
  let data: PreparedData
  let prepared: PreparedModel
  let engine: TrainingEngine
  let optimizer: any Optimizer
  let loader: DataLoader
  let evaluationLoader: EvaluationLoader?
  let stepCount: Int
  let schedule: LearningRateSchedule
  let store: RunCheckpointStore
  let writer: RunCheckpointWriter
  let stopRequest: StopRequest
  let progress: ProgressReporter
  let metrics: MetricsWriter?
  let tensorBoard: TensorBoardWriter?
  /// FLOP/s of all ranks at best.
  let peakRate: Double
  let cost: StepCost
  let trace: TraceWriter?

  var step = 0
  var skippedCount = 0
  var consecutiveSkips = 0
  var lastCheckpointStep: Int?
  /// The first thing that this rank could not write since the ranks last agreed.
  var unwritten: (any Error)?
  /// The loss curve so far, for the chart; on rank 0.
  var history = MetricsHistory()
  /// Steps that the chart on the disk shows.
  var chartedStep = 0

  /// Prepares everything: nothing is trained yet, but all that can fail early has been tried.
  ///
  /// Every rank makes its run at the same time; `environment` says which one this is.
  ///
  /// - Parameters:
  ///   - configuration: What to train.
  ///   - resume: What to do with a run that is in the directory already.
  ///   - stopRequest: The wish to end it early.
  ///   - environment: This process's place among the ranks.
  ///   - tracedSteps: Steps of which a timeline is written.
  /// - Throws: What is wrong with configuration, data, model, checkpoint or run directory, on the rank
  ///   that met it; `TrainingError` with the ranks' names on the others.
  public init(
    _ configuration: RunConfiguration, resume: ResumePolicy, stopRequest: StopRequest,
    environment: RankEnvironment = .single, tracedSteps: TraceSteps? = nil
  ) throws {
    let device = try configuration.device(localRank: environment.localRank)
    // What auto has become: ranks that differ in it are refused like those of any other option.
    var configuration = configuration
    configuration.run.device = RunOptions.DeviceChoice(device.kind)
    self.configuration = configuration
    self.stopRequest = stopRequest
    let modelConfiguration = try configuration.modelConfiguration()
    layout = RunLayout(root: configuration.run.directory ?? "runs/\(configuration.run.name)")
    let ranks = try RunRanks(
      environment, configuration, model: modelConfiguration, device: device,
      deviceModel: Accelerator.model(of: device),
      flightRecordPath: layout.operations(ofRank: environment.rank))
    self.ranks = ranks
    let root = layout.root
    directory = try ranks.agree("open the run directory") {
      ranks.isMain ? try RunDirectory(path: root, rankCount: ranks.count) : nil
    }
    let logPath = ranks.isMain ? layout.log : layout.log(ofRank: ranks.rank)
    let log = try ranks.agree("open the log") { try RunLog(path: logPath) }
    self.log = log
    TensorFailure.onFailure { message in
      try? log.write(.error, "the process stops", ["message": message])
      try? log.synchronize()
    }
    let memory = Self.memoryAccount(
      configuration, model: modelConfiguration, mesh: ranks.mesh)
    TensorFailure.onOutOfMemory { memory.explanation() }
    Self.applyProcessSettings(configuration.run, environment)

    let setup = ranks.reporter(configuration.logging, totalSteps: 0)
    if ranks.isMain { stopRequest.tell(through: { setup.note($0) }) }
    data = try ranks.oneFirst("prepare the data") {
      let data = try PreparedData(configuration, model: modelConfiguration) { setup.note($0) }
      try Self.checkVocabulary(data.tokenizer, modelConfiguration)
      return data
    }
    for note in data.notes { setup.note(note) }
    let samples = data
    (loader, evaluationLoader) = try ranks.agree("pack the data") {
      (try samples.makeLoader(configuration), try samples.makeEvaluationLoader(configuration))
    }
    if let steps = configuration.training.steps {
      stepCount = steps
    } else {
      stepCount = try loader.stepCount(epochs: configuration.training.epochs ?? 1)
    }
    schedule = LearningRateSchedule(
      configuration.schedule, optimizer: configuration.optimizer, stepCount: stepCount)

    store = RunCheckpointStore(
      folder: layout.checkpoints, retainedCount: configuration.checkpoint.keep)
    let (store, layout) = (store, layout)
    let checkpoint = try ranks.oneFirst("find the checkpoint") {
      try Self.startingPoint(resume, store: store, layout: layout, cleans: ranks.isMain)
    }
    let computeDType = DType(configuration.model.dtype)
    let optimizerOptions = configuration.optimizer
    prepared = memory.measure("weights") {
      PreparedModel(
        modelConfiguration, computeDType: computeDType, isTrained: true,
        keepsMaster: optimizerOptions.state == .f32, float8: configuration.float8Modules,
        float8Products: configuration.float8Products, mesh: ranks.mesh,
        decays: { optimizerOptions.decays($0) })
    }
    let (units, buffers) = (prepared.units.all, prepared.units.pool.counter)
    let optimizerSwap =
      configuration.training.swapsOptimizer ? HostSwap(device: device) : nil
    optimizer = memory.measure("optimizer moments") {
      optimizerOptions.makeOptimizer(units, swap: optimizerSwap)
    }
    memory.add("buffers of gathered units and gradients") { buffers.byteCount }
    engine = TrainingEngine(
      model: prepared.model, units: prepared.units,
      options: TrainingEngine.Options(configuration, layerCount: prepared.model.layers.count))
    for counter in [engine.swap.hostCounter, optimizerSwap?.hostCounter].compactMap(\.self) {
      memory.add("host memory of swaps", onHost: true) { counter.byteCount }
    }
    writer = RunCheckpointWriter(store: store, mesh: ranks.mesh)
    let resumedStep = checkpoint?.step ?? 0
    metrics = try ranks.agree("open the metrics") {
      ranks.isMain
        ? try MetricsWriter(
          path: layout.metrics, resumingAfter: resume == .never ? nil : resumedStep) : nil
    }
    tensorBoard = try ranks.agree("open the TensorBoard file") {
      ranks.isMain && configuration.logging.tensorboard
        ? try TensorBoardWriter(folder: layout.tensorboard, resumingAfter: resumedStep) : nil
    }
    let progress = ranks.reporter(configuration.logging, totalSteps: stepCount)
    self.progress = progress
    if ranks.isMain { stopRequest.tell(through: { progress.note($0) }) }
    peakRate = try ranks.sum(Throughput.peak(dtype: computeDType, device: device))
    cost = StepCost(
      modelConfiguration, recomputedLayerCount: engine.options.recomputedLayerCount)
    let stepCount = stepCount
    trace = try tracedSteps.map {
      try TraceWriter($0, ranks: ranks, layout: layout, stepCount: stepCount)
    }
    DeviceMemory.resetPeak(on: device)
    try ranks.agree("read the metrics") {
      if ranks.isMain { history = try MetricsHistory(path: layout.metrics) }
      chartedStep = resumedStep
    }
    try ranks.agree("load the weights") { try prepareWeights(checkpoint) }
    try ranks.agree("write the configuration") { try directory?.write(configuration) }
    try ranks.agree("write the log") {
      try noteLoading()
      try noteStart(checkpoint)
    }
  }

  /// Trains until the last step or a stop request, and writes what the configuration asks for.
  public func run() throws -> TrainingOutcome {
    do {
      return try train()
    } catch {
      ranks.leave(because: error)
      throw error
    }
  }

  private func train() throws -> TrainingOutcome {
    var finalLoss: Double?
    var isStopping = try ranks.agreeOnStop(stopRequest)
    while step < stepCount && !isStopping {
      let clock = ContinuousClock()
      let start = clock.now
      engine.instruments.timeline = trace?.recorder(step: step + 1)
      let packs = try engine.instruments.timeline.record("next step", .data, lane: "schedule") {
        try loader.nextStep()
      }
      if packs.isEmpty { break }
      let dataSeconds = (clock.now - start).seconds
      let report = try trainStep(packs, dataSeconds: dataSeconds, start: start)
      try trace?.finish(step: step, isLast: step == stepCount || isStopping)
      finalLoss = report.loss
      record(report)
      let isLast = step == stepCount
      if isEvaluationDue(isLast: isLast) { try evaluate() }
      if isCheckpointDue(isLast: isLast) { try saveCheckpoint() }
      try writer.poll()
      isStopping = try ranks.agreeOnStop(stopRequest, unwritten: unwritten)
    }
    let isStopped = isStopping && step < stepCount
    if isStopped && lastCheckpointStep != step { try saveCheckpoint() }
    try writer.wait()
    progress.finish()
    try ranks.agree("write the chart") { try writeChart() }
    var outcome = TrainingOutcome(
      step: step, isStopped: isStopped, finalLoss: finalLoss, exportPath: nil,
      layout: layout)
    if !isStopped && configuration.export.atEnd {
      try exportModel(to: layout.export)
      outcome.exportPath = layout.export
    }
    keep {
      try log.write(
        .info, isStopped ? "run stopped" : "run finished",
        ["step": String(step), "reason": stopRequest.reason ?? "last step"])
    }
    try ranks.agreeOnFiles(unwritten)
    ranks.mesh.shutDown()
    return outcome
  }

  /// The model as it is now, for use beside training (the demo's accuracy before training).
  public var model: PreparedModel { prepared }

  /// The tokenizer of the data.
  public var tokenizer: Tokenizer { data.tokenizer }

  // MARK: One step

  private func trainStep(
    _ packs: [Pack], dataSeconds: Double, start: ContinuousClock.Instant
  ) throws -> StepMetrics {
    guard packs.contains(where: \.hasTargets) else {
      throw TrainingError(
        .data,
        """
        step \(step + 1): none of its \(packs.count) packs has a token with a loss; check the \
        template and the loss flags with `xtuner data inspect`
        """)
    }
    let (batches, prediction) = ownMicroBatches(packs)
    let measured = try engine.accumulateGradients(batches)
    step += 1
    let rate = schedule.learningRate(step: step)
    let timeline = engine.instruments.timeline
    let gradientNorm = try timeline.record("gradient norm", .optimizer, lane: "schedule") {
      try GradientNorm(prepared.units)
    }
    let norm = gradientNorm.value
    let isSkipped = try skips(
      norm: norm, nonFiniteUnit: gradientNorm.nonFiniteUnit, loss: measured.loss)
    if !isSkipped {
      let limit = configuration.training.maxGradientNorm ?? .infinity
      // 1e-6 as in torch.nn.utils.clip_grad_norm_.
      let scale = limit.isFinite ? min(1, limit / (norm + 1e-6)) : 1
      try timeline.record("update", .optimizer, lane: "schedule") {
        try optimizer.step(learningRate: rate, gradientScale: scale)
      }
    }
    let seconds = (ContinuousClock.now - start).seconds
    return try stepMetrics(
      measured, prediction, norm: norm, rate: rate, seconds: seconds, dataSeconds: dataSeconds,
      isSkipped: isSkipped)
  }

  /// The micro-batches that this rank computes, in their order.
  private func ownMicroBatches(_ packs: [Pack]) -> ([MicroBatch], StepPrediction) {
    let size = configuration.training.microBatchPacks
    let groups = stride(from: 0, to: packs.count, by: size).map {
      Array(packs[$0..<min($0 + size, packs.count)])
    }
    let costs = groups.map { group in
      cost.cost(
        sequenceLengths: group.flatMap(\.sampleLengths).map { Int($0) },
        lossTokens: group.reduce(0) { $0 + $1.labels.count { $0 != -100 } })
    }
    let (readers, interleave) = (ranks.mesh.dataRankCount, configuration.parallel.interleave)
    let assignment: StepAssignment =
      configuration.parallel.balance && readers > 1
      ? .balanced(costs: costs, rankCount: readers, interleave: interleave)
      : .inOrder(count: groups.count, rankCount: readers, interleave: interleave)
    let own = assignment.packs[ranks.mesh.dataRank].map { microBatch(groups[$0]) }
    return (own, assignment.prediction(costs: costs))
  }

  func microBatch(_ packs: [Pack]) -> MicroBatch {
    MicroBatch.make(
      packs, packsPerBatch: packs.count, reduction: LossReduction(configuration.loss.reduction))[0]
  }

  /// Whether the update is left out; throws after too many in a row.
  private func skips(norm: Double, nonFiniteUnit: String?, loss: Double) throws -> Bool {
    let threshold = configuration.training.skipThreshold ?? .infinity
    guard !norm.isFinite || norm > threshold else {
      consecutiveSkips = 0
      return false
    }
    skippedCount += 1
    consecutiveSkips += 1
    let cause =
      norm.isFinite
      ? "gradient norm \(norm) is above training.skip_threshold \(threshold)"
      : "the gradient of \(nonFiniteUnit ?? "a block") is not finite (loss \(loss))"
    progress.note("step \(step): update skipped: \(cause)")
    keep {
      try log.write(
        .warning, "update skipped",
        ["step": String(step), "unit": nonFiniteUnit ?? "-", "gradient_norm": "\(norm)"])
    }
    if consecutiveSkips >= Self.maximumConsecutiveSkips {
      throw TrainingError(
        .nonFinite,
        """
        step \(step): \(consecutiveSkips) updates in a row were skipped, the last because \(cause); \
        lower optimizer.learning_rate or resume from an earlier checkpoint
        """)
    }
    return true
  }

  private func isEvaluationDue(isLast: Bool) -> Bool {
    guard evaluationLoader != nil else { return false }
    return isLast || configuration.evaluation.everySteps.map { step % $0 == 0 } ?? false
  }

  private func isCheckpointDue(isLast: Bool) -> Bool {
    if isLast { return configuration.checkpoint.atEnd }
    return configuration.checkpoint.everySteps.map { step % $0 == 0 } ?? false
  }
}
