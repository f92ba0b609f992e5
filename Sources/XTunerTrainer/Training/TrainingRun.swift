import Foundation
import Torch
import XTunerCheckpoint
import XTunerData
import XTunerModels
import XTunerNN
public import XTunerTokenizers

/// One run of `xtuner train`: data, model, steps, evaluation, checkpoints and export.
///
/// Synchronous, and confined to the thread that created it.
public final class TrainingRun {
  /// Consecutive updates without finite gradients after which a run stops.
  static let maximumConsecutiveSkips = 10

  let configuration: RunConfiguration
  let directory: RunDirectory
  let log: RunLog
  let data: PreparedData
  let prepared: PreparedModel
  let engine: TrainingEngine
  let optimizer: AdamW
  let loader: DataLoader
  let evaluationLoader: EvaluationLoader?
  let stepCount: Int
  let schedule: LearningRateSchedule
  let store: RunCheckpointStore
  let writer: CheckpointWriter
  let stopRequest: StopRequest
  let progress: ProgressReporter
  let metrics: MetricsWriter
  let tensorBoard: TensorBoardWriter?
  let peakRate: Double

  var step = 0
  var skippedCount = 0
  var consecutiveSkips = 0
  var lastCheckpointStep: Int?

  /// Prepares everything: nothing is trained yet, but all that can fail early has been tried.
  public init(
    _ configuration: RunConfiguration, resume: ResumePolicy, stopRequest: StopRequest
  ) throws {
    self.configuration = configuration
    self.stopRequest = stopRequest
    let path = configuration.run.directory ?? "runs/\(configuration.run.name)"
    directory = try RunDirectory(path: path)
    let log = try RunLog(path: directory.layout.log)
    self.log = log
    TensorFailure.onFailure { message in
      try? log.write(.error, "tensor operation failed", ["message": message])
      try? log.synchronize()
    }
    Self.applyProcessSettings(configuration.run)

    let setup = ProgressReporter(logging: configuration.logging, totalSteps: 0)
    let modelConfiguration = try configuration.modelConfiguration()
    data = try PreparedData(configuration, model: modelConfiguration) { setup.note($0) }
    for note in data.notes { setup.note(note) }
    try Self.checkVocabulary(data.tokenizer, modelConfiguration)
    loader = try data.makeLoader(configuration)
    evaluationLoader = try data.makeEvaluationLoader(configuration)
    if let steps = configuration.training.steps {
      stepCount = steps
    } else {
      stepCount = try loader.stepCount(epochs: configuration.training.epochs ?? 1)
    }
    schedule = LearningRateSchedule(
      configuration.schedule, optimizer: configuration.optimizer, stepCount: stepCount)

    store = RunCheckpointStore(
      folder: directory.layout.checkpoints, retainedCount: configuration.checkpoint.keep)
    let checkpoint = try Self.startingPoint(resume, store: store, layout: directory.layout)
    let computeDType = DType(configuration.model.dtype)
    let optimizerOptions = configuration.optimizer
    prepared = PreparedModel(
      modelConfiguration, computeDType: computeDType, isTrained: true,
      decays: { optimizerOptions.decays($0) })
    optimizer = AdamW(prepared.units.all, options: AdamW.Options(optimizerOptions))
    engine = TrainingEngine(
      model: prepared.model, units: prepared.units,
      options: TrainingEngine.Options(configuration, layerCount: prepared.model.layers.count))
    writer = CheckpointWriter(store: store)
    let resumedStep = checkpoint?.step ?? 0
    metrics = try MetricsWriter(
      path: directory.layout.metrics, resumingAfter: resume == .never ? nil : resumedStep)
    tensorBoard =
      configuration.logging.tensorboard
      ? try TensorBoardWriter(folder: directory.layout.tensorboard, resumingAfter: resumedStep)
      : nil
    progress = ProgressReporter(logging: configuration.logging, totalSteps: stepCount)
    peakRate = Throughput.matrixProductPeak(dtype: computeDType)
    try prepareWeights(checkpoint)
    try directory.write(configuration)
    try noteStart(checkpoint)
  }

  /// Trains until the last step or a stop request, and writes what the configuration asks for.
  public func run() throws -> TrainingOutcome {
    var finalLoss: Double?
    while step < stepCount && !stopRequest.isRequested {
      let clock = ContinuousClock()
      let start = clock.now
      let packs = try loader.nextStep()
      if packs.isEmpty { break }
      let dataSeconds = (clock.now - start).seconds
      let report = try trainStep(packs, dataSeconds: dataSeconds, start: start)
      finalLoss = report.loss
      try record(report)
      let isLast = step == stepCount
      if isEvaluationDue(isLast: isLast) { try evaluate() }
      if isCheckpointDue(isLast: isLast) { try saveCheckpoint() }
    }
    let isStopped = stopRequest.isRequested && step < stepCount
    if isStopped && lastCheckpointStep != step { try saveCheckpoint() }
    _ = try writer.wait()
    progress.finish()
    try writeChart()
    var outcome = TrainingOutcome(
      step: step, isStopped: isStopped, finalLoss: finalLoss, exportPath: nil,
      layout: directory.layout)
    if !isStopped && configuration.export.atEnd {
      try exportModel(to: directory.layout.export)
      outcome.exportPath = directory.layout.export
    }
    try log.write(
      .info, isStopped ? "run stopped" : "run finished",
      ["step": String(step), "reason": stopRequest.reason ?? "last step"])
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
    let batches = MicroBatch.make(
      packs, packsPerBatch: configuration.training.microBatchPacks,
      reduction: LossReduction(configuration.loss.reduction))
    guard batches.contains(where: { $0.weightSum > 0 }) else {
      throw TrainingError(
        .data,
        """
        step \(step + 1): none of its \(packs.count) packs has a token with a loss; check the \
        template and the loss flags with `xtuner data inspect`
        """)
    }
    let measured = engine.accumulateGradients(batches)
    step += 1
    let rate = schedule.learningRate(step: step)
    let (norm, nonFiniteUnit) = optimizer.gradientNorm()
    let isSkipped = try skips(norm: norm, nonFiniteUnit: nonFiniteUnit, loss: measured.loss)
    if !isSkipped {
      let limit = configuration.training.maxGradientNorm ?? .infinity
      // 1e-6 as in torch.nn.utils.clip_grad_norm_.
      let scale = limit.isFinite ? min(1, limit / (norm + 1e-6)) : 1
      optimizer.step(learningRate: rate, gradientScale: scale)
    }
    let seconds = (ContinuousClock.now - start).seconds
    return stepMetrics(
      measured, norm: norm, rate: rate, seconds: seconds, dataSeconds: dataSeconds,
      isSkipped: isSkipped)
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
    try log.write(
      .warning, "update skipped",
      ["step": String(step), "unit": nonFiniteUnit ?? "-", "gradient_norm": "\(norm)"])
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

  private func evaluate() throws {
    guard let evaluationLoader else { return }
    let clock = ContinuousClock()
    let start = clock.now
    var (lossSum, weightSum, tokens) = (0.0, 0.0, 0)
    for pack in evaluationLoader {
      let batch = MicroBatch.make(
        [pack], packsPerBatch: 1, reduction: LossReduction(configuration.loss.reduction))[0]
      let result = engine.evaluate(batch)
      lossSum += result.lossSum
      weightSum += result.weightSum
      tokens += batch.targetTokens.count
    }
    let result = EvaluationMetrics(
      step: step, loss: weightSum > 0 ? lossSum / weightSum : .nan, lossTokens: tokens,
      seconds: (clock.now - start).seconds)
    try metrics.write(result)
    try tensorBoard?.write(result)
    progress.report(result)
  }
}
