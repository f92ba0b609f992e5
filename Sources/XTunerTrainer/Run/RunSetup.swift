import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun

/// Everything that a run has when its first step begins.
struct RunSetup {
  let place: RunPlace
  let start: StartingPoint
  /// What the checkpoint says beside its tensors; nil for a new run.
  let state: TrainingState?
  let data: RunData
  let length: RunLength
  let schedule: LearningRateSchedule
  let learner: Learner
  let cost: StepCost
  let store: RunCheckpointStore
  let writer: RunCheckpointWriter
  let records: RunRecords
  let meter: StepMeter
  let trace: TraceWriter?
  /// Whether earlier sessions have evaluated after the step that the run starts from.
  let isEvaluated: Bool

  /// The last step that earlier sessions did.
  var step: Int { state?.step ?? 0 }

  /// Prepares everything in the order in which most is refused before much is done.
  ///
  /// See ``TrainingRun/init(_:resume:stopRequest:environment:tracedSteps:)``.
  init(
    _ configuration: RunConfiguration, resume: ResumePolicy, stopRequest: StopRequest,
    environment: RankEnvironment, tracedSteps: TraceSteps?
  ) throws {
    let device = try configuration.device(localRank: environment.localRank)
    // What auto has become: ranks that differ in it are refused like those of any other option.
    var configuration = configuration
    configuration.run.device = RunOptions.DeviceChoice(device.kind)
    let layout = RunLayout(root: configuration.run.directory ?? "runs/\(configuration.run.name)")
    let described = try configuration.describedModel(
      startingAt: resume.existingCheckpoint(in: layout))
    let place = try RunPlace(
      configuration, layout: layout, model: described.configuration, environment: environment,
      device: device)
    self.place = place
    let (ranks, log) = (place.ranks, place.log)

    let setup = ranks.reporter(configuration.logging, totalSteps: 0)
    if ranks.isMain { stopRequest.tell(through: { setup.note($0) }) }
    let store = RunCheckpointStore(
      folder: layout.checkpoints, retainedCount: configuration.checkpoint.keep)
    self.store = store
    start = try ranks.oneFirst("find the checkpoint") {
      try StartingPoint.find(resume, store: store, layout: layout, cleans: ranks.isMain)
    }
    let checkpoint = start.checkpoint
    let data = try RunData(place, described, resuming: checkpoint) { setup.note($0) }
    self.data = data
    state = try ranks.agree("read the checkpoint") {
      try checkpoint.map {
        try Self.state(of: $0, configuration, loader: data.loader, ranks: ranks)
      }
    }
    let step = state?.step ?? 0
    length = try RunLength(configuration, loader: data.loader, step: step)
    schedule = LearningRateSchedule(
      configuration.schedule, optimizer: configuration.optimizer,
      stepCount: length.scheduledStepCount)
    learner = Learner(place, described.configuration)
    writer = RunCheckpointWriter(store: store, mesh: ranks.mesh) { step in
      try log.write(
        .info, RunLog.checkpointWritten, ["step": String(step), "path": store.path(step: step)])
    }
    let records = try RunRecords(
      place, stepCount: length.stepCount, after: step, isNew: resume == .never)
    self.records = records
    let progress = records.progress
    if ranks.isMain { stopRequest.tell(through: { progress.note($0) }) }
    meter = try StepMeter(place, learner.prepared.model.facts)
    cost = StepCost(
      described.configuration,
      recomputedLayerCount: learner.engine.options.recomputedLayerCount)
    let stepCount = length.stepCount
    trace = try tracedSteps.map {
      try TraceWriter($0, ranks: ranks, layout: layout, stepCount: stepCount)
    }
    isEvaluated = try ranks.sum(records.metrics?.isEvaluated == true ? 1 : 0) > 0
    DeviceMemory.resetPeak(on: device)
    try ranks.agree("read the metrics") { try records.readHistory(upTo: step) }
    try ranks.agree("load the weights") { try prepareWeights() }
    try ranks.agree("write the configuration") { try place.directory?.write(configuration) }
    try ranks.agree("write the log") {
      try noteLoading()
      try noteStart()
    }
  }

  /// What a checkpoint says beside its tensors, after its files have been verified by all ranks
  /// together; the loader goes to its place in the data.
  private static func state(
    of checkpoint: RunCheckpoint, _ configuration: RunConfiguration, loader: DataLoader,
    ranks: RunRanks
  ) throws -> TrainingState {
    try checkpoint.verify(share: ranks.rank, of: ranks.count)
    let state = try checkpoint.state(as: TrainingState.self)
    try state.check(against: checkpoint)
    let optimizer = configuration.optimizer.name
    let saved = state.optimizer ?? UnitFiles.optimizer(ofMomentsIn: checkpoint)
    guard !state.hasMoments || saved == optimizer.rawValue else {
      throw configuration.error(
        at: "optimizer.name",
        """
        is \(optimizer.rawValue), but \(checkpoint.path) holds the moments of \(saved), which mean \
        something else; keep \(saved), or begin a new run from the weights: xtuner export \
        \(checkpoint.path), then model.path
        """)
    }
    try loader.restore(state.loader)
    return state
  }

  private func prepareWeights() throws {
    guard let checkpoint = start.checkpoint, let state else {
      return try learner.begin(place.configuration)
    }
    try learner.restore(checkpoint, state)
    if !state.hasMoments {
      records.progress.note(
        "\(checkpoint.path) has no optimizer state (checkpoint.save_optimizer: false): its "
          + "moments start at zero")
    }
    try noteConfigurationChanges()
  }
}
