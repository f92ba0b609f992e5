import Torch
import XTunerModels
import XTunerParallel

/// Settings that would make a run's memory smaller, by the estimate of each.
package struct MemoryAdvice {
  /// One change of the configuration and what the estimate says of it.
  struct Option: Equatable {
    /// Keys and values as a configuration has them.
    var setting: String
    /// Bytes at the peak with it.
    var peak: Int
  }

  /// The estimate of the run as it is.
  let estimate: MemoryEstimate
  /// What would help, most first; what saves less than a hundredth is left out.
  let options: [Option]

  package init(_ setting: MemoryEstimate.Setting, packTokenCount: Int) {
    let estimate = MemoryEstimate(setting)
    self.estimate = estimate
    options = Self.changes(setting, packTokenCount: packTokenCount)
      .map { text, change in
        var changed = setting
        change(&changed)
        return Option(setting: text, peak: MemoryEstimate(changed).peak.total)
      }
      .filter { $0.peak < estimate.peak.total - estimate.peak.total / 100 }
      .sorted { $0.peak < $1.peak }
  }

  private typealias Change = (inout MemoryEstimate.Setting) -> Void

  private static func changes(
    _ setting: MemoryEstimate.Setting, packTokenCount: Int
  ) -> [(String, Change)] {
    let (options, layerCount) = (setting.options, setting.model.layers.count)
    func recompute(_ setting: inout MemoryEstimate.Setting) {
      setting.options.recomputedLayerCount = layerCount
      setting.options.keptStages = []
    }
    var changes: [(String, Change)] = []
    if options.recomputedLayerCount < layerCount || !options.keptStages.isEmpty {
      changes.append(("training.recompute: full", recompute))
    }
    if !options.swapsActivations {
      changes.append(
        (
          "training.recompute: full and training.swap_activations: true",
          {
            recompute(&$0)
            $0.options.swapsActivations = true
          }
        ))
    }
    if !setting.swapsOptimizer {
      changes.append(("training.swap_optimizer: true", { $0.swapsOptimizer = true }))
    }
    if setting.keepsMaster && setting.computeDType == .bfloat16 {
      changes.append(("optimizer.state: bf16 (rounded updates)", { $0.keepsMaster = false }))
    }
    if options.chunkSize > 256 {
      changes.append(("loss.chunk_size: 256", { $0.options.chunkSize = 256 }))
    }
    if options.interleave > 1 {
      changes.append(("parallel.interleave: 1", { $0.options.interleave = 1 }))
    }
    if options.reshard == .never {
      changes.append(
        ("parallel.reshard: after_forward", { $0.options.reshard = .afterForward }))
    }
    if setting.tokenCount > packTokenCount {
      changes.append(
        (
          "training.micro_batch_packs: 1",
          {
            $0.tokenCount = packTokenCount
            $0.targetCount = packTokenCount
          }
        ))
    } else {
      changes.append(
        (
          "data.sequence_length: \(packTokenCount / 2)",
          {
            $0.tokenCount /= 2
            $0.targetCount = $0.tokenCount
            $0.longestSample /= 2
          }
        ))
    }
    let ranks = setting.layout.worldSize
    changes.append(
      (
        "\(2 * ranks) ranks instead of \(ranks) (--nproc or more machines)",
        {
          $0.layout.worldSize *= 2
          $0.layout.shard *= 2
          $0.microBatchCount = ($0.microBatchCount + 1) / 2
        }
      ))
    return changes
  }
}
