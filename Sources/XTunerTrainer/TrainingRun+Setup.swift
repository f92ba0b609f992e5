import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerMoE
import XTunerNN
import XTunerParallel
import XTunerRun
import XTunerTokenizers

extension TrainingRun {
  static func applyProcessSettings(_ options: RunOptions, _ environment: RankEnvironment) {
    Torch.setThreadCount(environment.threadCount(requested: options.threads))
    Torch.setDeterministic(options.deterministic)
  }

  /// A tokenizer with more ids than the embedding has rows would fail in the middle of a step.
  static func checkVocabulary(_ tokenizer: Tokenizer, _ model: ModelConfiguration) throws {
    guard tokenizer.vocabularySize > model.vocabularySize else { return }
    throw TrainingError(
      .model,
      """
      the tokenizer's largest id is \(tokenizer.vocabularySize - 1), the model's embedding has \
      \(model.vocabularySize) rows (vocab_size); use the model's own tokenizer, or set \
      model.overrides.vocab_size to at least \(tokenizer.vocabularySize) when training from scratch
      """)
  }

  /// What a checkpoint says beside its tensors, after its files have been verified by all ranks
  /// together; the loader goes to its place in the data.
  static func state(
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

  func prepareWeights(_ checkpoint: RunCheckpoint?, _ state: TrainingState?) throws {
    if let checkpoint, let state {
      try UnitFiles.load(
        checkpoint, into: optimizer.checkpointParts(includesMoments: state.hasMoments))
      prepared.units.publish()
      optimizer.stepCount = state.hasMoments ? state.updateCount : 0
      step = state.step
      skippedCount = state.skippedCount
      consecutiveSkips = state.consecutiveSkipCount ?? 0
      unlabelledCount = state.unlabelledCount ?? 0
      lastCheckpointStep = state.step
      if !state.hasMoments {
        progress.note(
          "\(checkpoint.path) has no optimizer state (checkpoint.save_optimizer: false): its "
            + "moments start at zero")
      }
      try noteConfigurationChanges()
      return
    }
    if configuration.model.weights == .load {
      guard let path = configuration.model.path else {
        throw configuration.error(at: "model.weights", "load needs model.path")
      }
      try prepared.load(path: path)
    } else {
      prepared.initialize(seed: UInt64(configuration.run.seed))
    }
  }

  /// What is different from the configuration that the run began with, told and not hidden.
  private func noteConfigurationChanges() throws {
    guard ranks.isMain, FileManager.default.fileExists(atPath: layout.configuration) else {
      return
    }
    let old = try RunConfiguration.load(file: layout.configuration)
    for difference in configuration.differences(from: old) {
      progress.note("configuration changed since the last session: \(difference)")
      try log.write(.warning, "configuration changed", ["difference": "\(difference)"])
    }
  }

  /// Tells where `metrics.jsonl` and the checkpoint do not end at the same step.
  ///
  /// A checkpoint of another directory has its lines there.
  private func noteMetrics(isOwn: Bool) throws {
    guard let metrics, let end = metrics.lastStep ?? (isOwn ? 0 : nil), end != step else { return }
    guard end > step || isOwn else { return }
    let origin = step == 0 ? "there is no checkpoint" : "the checkpoint is of step \(step)"
    let consequence =
      end > step
      ? "steps \(step + 1) to \(end) are computed again"
      : "the lines of steps \(end + 1) to \(step) are lost"
    let note = "metrics.jsonl ended at step \(end), \(origin): \(consequence)"
    progress.note(note)
    try log.write(.warning, "metrics and checkpoint differ", ["note": note])
  }

  private var deviceDescription: String {
    device == .cpu ? "\(Torch.threadCount) threads" : "\(device)"
  }

  func noteStart(_ checkpoint: RunCheckpoint?, _ notes: [String]) throws {
    let facts = prepared.model.facts
    let origin = checkpoint.map { "resumed from \($0.path)" } ?? RunLog.newRun
    progress.note(
      """
      \(configuration.run.name): \(NumberFormat.si(Double(facts.parameterCount))) parameters, \
      \(NumberFormat.si(Double(facts.activeParameterCount))) active; \(stepCount) steps of \
      \(configuration.training.packsPerStep) packs of \(configuration.data.sequenceLength) tokens; \
      \(ranks.description)\(deviceDescription), \
      \(configuration.model.dtype.rawValue)\(configuration.float8Description); \(origin)
      """)
    try log.write(
      .info, RunLog.runStarted,
      [
        "step": String(step), "steps": String(stepCount), "origin": origin,
        "libtorch": Torch.version, "cpu": Torch.cpuCapability,
        "device": "\(device)", "threads": String(Torch.threadCount),
        "configuration": configuration.hash,
      ])
    for note in notes {
      progress.note(note)
      try log.write(.warning, "checkpoint not whole", ["note": note])
    }
    try noteMetrics(isOwn: checkpoint?.path == store.path(step: step))
    if step == stepCount {
      progress.note("nothing is left to train: step \(step) is the last one")
    }
    if let note = ranks.exchangeNote {
      progress.note(note)
      try log.write(.warning, "exchanges", ["note": note, "device": "\(device)"])
    }
    if let note = ranks.deviceNote {
      progress.note(note)
      try log.write(.warning, "devices", ["note": note])
    }
    try noteMemory()
  }
}
