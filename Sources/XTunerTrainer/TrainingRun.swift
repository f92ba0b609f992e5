import Foundation
import Torch
import XTunerCheckpoint
public import XTunerConfiguration
import XTunerData
public import XTunerEngine
public import XTunerLaunch
import XTunerModels
import XTunerNN
public import XTunerParallel
public import XTunerRun
import XTunerSystem
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
  let length: RunLength
  var stepCount: Int { length.stepCount }
  let schedule: LearningRateSchedule
  let store: RunCheckpointStore
  let writer: RunCheckpointWriter
  let stopRequest: StopRequest
  let progress: ProgressReporter
  let metrics: MetricsWriter?
  let tensorBoard: TensorBoardWriter?
  /// FLOP/s of all ranks at best.
  var peakRate: PeakRate
  /// The most bytes of tensors before the rate was measured again, which takes some of its own.
  var earlierTensorPeak = 0
  let cost: StepCost
  let trace: TraceWriter?
  /// What a Hugging Face folder of this run has beside the weights; empty on all ranks but 0.
  let modelFiles: [ModelFile]

  var step = 0
  var skippedCount = 0
  var consecutiveSkips = 0
  var unlabelledCount = 0
  var lastCheckpointStep: Int?
  var lastEvaluationStep: Int?
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
    let layout = RunLayout(root: configuration.run.directory ?? "runs/\(configuration.run.name)")
    self.layout = layout
    let described = try configuration.describedModel(
      startingAt: Self.existingCheckpoint(resume, layout: layout))
    let modelConfiguration = described.configuration
    let ranks = try RunRanks(
      environment, configuration, model: modelConfiguration, device: device,
      deviceModel: Accelerator.model(of: device),
      flightRecordPath: layout.operations(ofRank: environment.rank))
    self.ranks = ranks
    let root = layout.root
    directory = try ranks.agree("open the run directory") {
      let directory = ranks.isMain ? try RunDirectory(path: root, rankCount: ranks.count) : nil
      try directory?.checkPlaces()
      return directory
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
    store = RunCheckpointStore(
      folder: layout.checkpoints, retainedCount: configuration.checkpoint.keep)
    let store = store
    let start = try ranks.oneFirst("find the checkpoint") {
      try StartingPoint.find(resume, store: store, layout: layout, cleans: ranks.isMain)
    }
    let checkpoint = start.checkpoint
    let date = try Self.currentDate(configuration, resuming: checkpoint, ranks: ranks)
    data = try ranks.oneFirst("prepare the data") {
      let saved = try checkpoint?.state(as: TrainingState.self).loader.identity
      let data = try PreparedData(
        configuration, model: modelConfiguration, resuming: saved, currentDate: date
      ) { setup.note($0) }
      try Self.checkVocabulary(data.tokenizer, modelConfiguration)
      return data
    }
    for note in described.notes + data.notes { setup.note(note) }
    let samples = data
    try ranks.agree("write the log") {
      try Self.log(described, to: log)
      for note in samples.notes { try log.write(.info, "data", ["note": note]) }
      if let note = try samples.checkPositions(modelConfiguration, configuration) {
        try log.write(.info, "positions", ["note": note])
      }
    }
    modelFiles = try ranks.agree("prepare the files beside the weights") {
      ranks.isMain
        ? try ModelExport.files(
          modelConfiguration, dtype: DType(configuration.model.dtype),
          beside: try configuration.exportFiles(
            samples.tokenizer, template: samples.templateChoice)) : []
    }
    let loader: DataLoader
    (loader, evaluationLoader) = try ranks.agree("pack the data") {
      (try samples.makeLoader(configuration), try samples.makeEvaluationLoader(configuration))
    }
    self.loader = loader

    let state = try ranks.agree("read the checkpoint") {
      try checkpoint.map { try Self.state(of: $0, configuration, loader: loader, ranks: ranks) }
    }
    let length = try RunLength(configuration, loader: loader, step: state?.step ?? 0)
    self.length = length
    schedule = LearningRateSchedule(
      configuration.schedule, optimizer: configuration.optimizer,
      stepCount: length.scheduledStepCount)
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
      options: TrainingEngine.Options(configuration, layerCount: prepared.model.blocks.count))
    for counter in [engine.swap.hostCounter, optimizerSwap?.hostCounter].compactMap(\.self) {
      memory.add("host memory of swaps", onHost: true) { counter.byteCount }
    }
    writer = RunCheckpointWriter(store: store, mesh: ranks.mesh) { step in
      try log.write(
        .info, RunLog.checkpointWritten, ["step": String(step), "path": store.path(step: step)])
    }
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
    let progress = ranks.reporter(configuration.logging, totalSteps: length.stepCount)
    self.progress = progress
    if ranks.isMain { stopRequest.tell(through: { progress.note($0) }) }
    let dataSheetRate = Throughput.dataSheetRate(dtype: computeDType, device: device)
    peakRate = PeakRate(
      try ranks.sum(Throughput.peak(dtype: computeDType, device: device)),
      isMeasured: try ranks.sum(dataSheetRate == nil ? 1 : 0) > 0)
    cost = StepCost(
      modelConfiguration, recomputedLayerCount: engine.options.recomputedLayerCount)
    trace = try tracedSteps.map {
      try TraceWriter($0, ranks: ranks, layout: layout, stepCount: length.stepCount)
    }
    let isEvaluated = try ranks.sum(metrics?.isEvaluated == true ? 1 : 0) > 0
    lastEvaluationStep = isEvaluated ? resumedStep : nil
    DeviceMemory.resetPeak(on: device)
    try ranks.agree("read the metrics") {
      if ranks.isMain { history = try MetricsHistory(path: layout.metrics) }
      chartedStep = resumedStep
    }
    try ranks.agree("load the weights") { try prepareWeights(checkpoint, state) }
    try ranks.agree("write the configuration") { try directory?.write(configuration) }
    try ranks.agree("write the log") {
      try noteLoading()
      try noteStart(checkpoint, start.notes)
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
    var firstStep: Int?
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
      firstStep = firstStep ?? step
      if report.lossTokens > 0 { finalLoss = report.loss }
      record(report)
      if step < stepCount {
        if isDue(configuration.evaluation.everySteps) { try evaluateOnce() }
        if isDue(configuration.checkpoint.everySteps) { try saveCheckpoint() }
      }
      try writer.poll()
      isStopping = try ranks.agreeOnStop(stopRequest, unwritten: unwritten)
    }
    let isStopped = isStopping && step < stepCount
    // Here and not in the loop: the data may end, or nothing may have been left to train.
    if !isStopped { try evaluateOnce() }
    let isSaved = lastCheckpointStep == step
    if !isSaved && (isStopped || configuration.checkpoint.atEnd) { try saveCheckpoint() }
    try writer.wait()
    progress.finish()
    try ranks.agree("write the chart") { try writeChart() }
    var outcome = TrainingOutcome(
      step: step, firstStep: firstStep, isStopped: isStopped, finalLoss: finalLoss,
      exportPath: nil, layout: layout)
    if !isStopped && configuration.export.atEnd {
      try exportModel(to: layout.export)
      outcome.exportPath = layout.export
    }
    keep {
      try log.write(
        .info, isStopped ? "run stopped" : "run finished",
        [
          "step": String(step), "first_step": firstStep.map(String.init) ?? "none",
          "reason": stopRequest.reason ?? "last step",
        ])
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
    // The same on all ranks, since each has the packs of all.
    guard packs.contains(where: \.hasTargets) else {
      return try passOver(packs, dataSeconds: dataSeconds, start: start)
    }
    let (batches, prediction) = ownMicroBatches(packs)
    let measured = try engine.accumulateGradients(batches)
    step += 1
    let rate = learningRate
    let timeline = engine.instruments.timeline
    let gradientNorm = try timeline.record("gradient norm", .optimizer, lane: "schedule") {
      try GradientNorm(prepared.units)
    }
    let norm = gradientNorm.value
    let isSkipped = try skips(batches, gradientNorm, loss: measured.loss)
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

  /// The rate of the step under way.
  var learningRate: Double { schedule.learningRate(step: length.scheduledStep(step)) }

  private func isDue(_ everySteps: Int?) -> Bool { everySteps.map { step % $0 == 0 } ?? false }

  /// Evaluates after this step, where that has not been done.
  private func evaluateOnce() throws {
    guard evaluationLoader != nil, lastEvaluationStep != step else { return }
    try evaluate()
    lastEvaluationStep = step
  }
}
