import Torch
import XTunerConfiguration
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun

/// Where a run is and who takes part in it, as one of its ranks sees it.
struct RunPlace {
  /// What to train, with the device that `auto` has become.
  let configuration: RunConfiguration
  let layout: RunLayout
  let ranks: RunRanks
  /// Nil on all ranks but 0, which owns the directory.
  let directory: RunDirectory?
  let log: RunLog
  /// What holds the memory of this rank's device, for the message of a run that has too little.
  let memory: MemoryAccount

  /// What this rank computes on.
  var device: Device { ranks.mesh.device }

  /// Meets the other ranks and opens directory and log; from here on the log has what stops the process.
  init(
    _ configuration: RunConfiguration, layout: RunLayout, model: ModelConfiguration,
    environment: RankEnvironment, device: Device
  ) throws {
    self.configuration = configuration
    self.layout = layout
    let ranks = try RunRanks(
      environment, configuration, model: model, device: device,
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
    let memory = Self.memoryAccount(configuration, model: model, mesh: ranks.mesh)
    self.memory = memory
    TensorFailure.onOutOfMemory { memory.explanation() }
    Torch.setThreadCount(environment.threadCount(requested: configuration.run.threads))
    Torch.setDeterministic(configuration.run.deterministic)
  }

  /// What tells a run that is out of memory who has it.
  private static func memoryAccount(
    _ configuration: RunConfiguration, model: ModelConfiguration, mesh: ProcessMesh
  ) -> MemoryAccount {
    guard configuration.hasMemoryEstimate else {
      return MemoryAccount(device: mesh.device, advice: nil)
    }
    let setting = MemoryEstimate.Setting(configuration, model: model, layout: mesh.layout)
    let packTokenCount = configuration.data.sequenceLength
    return MemoryAccount(device: mesh.device) {
      MemoryAdvice(setting, packTokenCount: packTokenCount)
    }
  }
}

extension RunConfiguration {
  /// Whether the memory estimate knows the run.
  ///
  /// It knows AdamW's moments; Muon's differ, and so do its exchanges.
  var hasMemoryEstimate: Bool { optimizer.name == .adamw }
}
