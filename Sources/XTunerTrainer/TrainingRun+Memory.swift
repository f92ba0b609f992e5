import Foundation
import Torch
import XTunerConfiguration
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun

extension TrainingRun {
  /// Writes to the log how much memory the tensors of a rank will take at most, and for what.
  func noteMemory() throws {
    guard Self.hasEstimate(configuration) else { return }
    let estimate = MemoryEstimate(
      .init(configuration, model: prepared.model.configuration, layout: ranks.mesh.layout))
    let peak = estimate.peak
    func bytes(_ part: KeyPath<MemoryParts, Int>) -> String { String(peak[keyPath: part]) }
    try log.write(
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

  /// Whether the estimate knows the run.
  ///
  /// It knows AdamW's moments; Muon's differ, and so do its exchanges.
  private static func hasEstimate(_ configuration: RunConfiguration) -> Bool {
    configuration.optimizer.name == .adamw
  }

  /// What tells a run that is out of memory who has it.
  static func memoryAccount(
    _ configuration: RunConfiguration, model: ModelConfiguration, mesh: ProcessMesh
  ) -> MemoryAccount {
    guard hasEstimate(configuration) else {
      return MemoryAccount(device: mesh.device, advice: nil)
    }
    let setting = MemoryEstimate.Setting(configuration, model: model, layout: mesh.layout)
    let packTokenCount = configuration.data.sequenceLength
    return MemoryAccount(device: mesh.device) {
      MemoryAdvice(setting, packTokenCount: packTokenCount)
    }
  }

  /// Writes to every rank's log how much memory its weights took when they were loaded or drawn.
  ///
  /// Mapped files are no tensors, and their pages are not anonymous memory.
  func noteLoading() throws {
    try log.write(
      .info, "weights ready",
      [
        "tensor_live.bytes": String(DeviceMemory.liveByteCount(on: device)),
        "tensor_peak.bytes": String(DeviceMemory.peakByteCount(on: device)),
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
