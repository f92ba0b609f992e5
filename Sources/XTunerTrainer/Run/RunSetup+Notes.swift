import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun

/// What a run says of itself before its first step.
extension RunSetup {
  /// What is different from the configuration that the run began with, told and not hidden.
  func noteConfigurationChanges() throws {
    let (configuration, layout) = (place.configuration, place.layout)
    guard place.ranks.isMain, FileManager.default.fileExists(atPath: layout.configuration) else {
      return
    }
    let old = try RunConfiguration.load(file: layout.configuration)
    for difference in configuration.differences(from: old) {
      records.progress.note("configuration changed since the last session: \(difference)")
      try place.log.write(.warning, "configuration changed", ["difference": "\(difference)"])
    }
  }

  /// Tells where `metrics.jsonl` and the checkpoint do not end at the same step.
  ///
  /// A checkpoint of another directory has its lines there.
  private func noteMetrics(isOwn: Bool) throws {
    guard let metrics = records.metrics, let end = metrics.lastStep ?? (isOwn ? 0 : nil),
      end != step
    else { return }
    guard end > step || isOwn else { return }
    let origin = step == 0 ? "there is no checkpoint" : "the checkpoint is of step \(step)"
    let consequence =
      end > step
      ? "steps \(step + 1) to \(end) are computed again"
      : "the lines of steps \(end + 1) to \(step) are lost"
    let note = "metrics.jsonl ended at step \(end), \(origin): \(consequence)"
    records.progress.note(note)
    try place.log.write(.warning, "metrics and checkpoint differ", ["note": note])
  }

  private var deviceDescription: String {
    place.device == .cpu ? "\(Torch.threadCount) threads" : "\(place.device)"
  }

  /// Tells and writes down what begins here, and what of it a person may not expect.
  func noteStart() throws {
    let (configuration, ranks, log) = (place.configuration, place.ranks, place.log)
    let (progress, stepCount) = (records.progress, length.stepCount)
    let facts = learner.prepared.model.facts
    let origin = start.checkpoint.map { "resumed from \($0.path)" } ?? RunLog.newRun
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
        "device": "\(place.device)", "threads": String(Torch.threadCount),
        "configuration": configuration.hash,
      ])
    for note in start.notes {
      progress.note(note)
      try log.write(.warning, "checkpoint not whole", ["note": note])
    }
    try noteMetrics(isOwn: start.checkpoint?.path == store.path(step: step))
    if step == stepCount {
      progress.note("nothing is left to train: step \(step) is the last one")
    }
    if let note = ranks.exchangeNote {
      progress.note(note)
      try log.write(.warning, "exchanges", ["note": note, "device": "\(place.device)"])
    }
    if let note = ranks.deviceNote {
      progress.note(note)
      try log.write(.warning, "devices", ["note": note])
    }
    try noteMemory()
  }

  /// Writes to the log how much memory the tensors of a rank will take at most, and for what.
  private func noteMemory() throws {
    let configuration = place.configuration
    guard configuration.hasMemoryEstimate else { return }
    let setting = MemoryEstimate.Setting(
      configuration, model: learner.prepared.model.configuration, layout: place.ranks.mesh.layout)
    let estimate = MemoryEstimate(setting)
    let peak = estimate.peak
    func bytes(_ part: KeyPath<MemoryParts, Int>) -> String { String(peak[keyPath: part]) }
    try place.log.write(
      .info, "memory estimate",
      [
        "total.bytes": bytes(\.total), "at": estimate.moment, "weights.bytes": bytes(\.weights),
        "moments.bytes": bytes(\.moments), "gradient_shards.bytes": bytes(\.gradientShards),
        "buffers.bytes": bytes(\.buffers), "collectives.bytes": bytes(\.collectives),
        "activations.bytes": bytes(\.activations), "gradients.bytes": bytes(\.gradients),
        "parameter_gradients.bytes": bytes(\.parameterGradients), "head.bytes": bytes(\.head),
        "working.bytes": bytes(\.working),
      ])
  }

  /// Writes to every rank's log how much memory its weights took when they were loaded or drawn.
  ///
  /// Mapped files are no tensors, and their pages are not anonymous memory.
  func noteLoading() throws {
    try place.log.write(
      .info, "weights ready",
      [
        "tensor_live.bytes": String(DeviceMemory.liveByteCount(on: place.device)),
        "tensor_peak.bytes": String(DeviceMemory.peakByteCount(on: place.device)),
        "anonymous.bytes": Self.anonymousByteCount().map(String.init) ?? "unknown",
      ])
  }

  /// The process's resident memory that is not of files.
  private static func anonymousByteCount() -> Int? {
    let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = status?.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
    return line.flatMap { Int($0.filter(\.isNumber)) }.map { $0 * 1024 }
  }
}
