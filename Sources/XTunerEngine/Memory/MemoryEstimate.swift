package import Torch
package import XTunerConfiguration
package import XTunerModels
package import XTunerNN
package import XTunerParallel

/// The largest number of bytes that tensors of one rank take in training, and what they are.
///
/// It is what ``DryRun`` counts. Not counted: weights being loaded or drawn, host buffers of swaps and a
/// checkpoint's copies, which are no tensors, and what libraries keep for themselves.
package struct MemoryEstimate: Sendable {
  /// What decides about the memory of a rank.
  package struct Setting: Sendable {
    package var model: ModelConfiguration
    package var computeDType = DType.bfloat16
    /// The layers whose matrices are multiplied as float8.
    package var float8Modules: Set<Float8Module> = []
    /// Who multiplies them.
    package var float8Products = Float8Products.emulated
    package var layout = ParallelLayout.single
    /// What ranks compute on.
    package var deviceKind = Device.Kind.cpu
    package var options = TrainingEngine.Options()
    package var optimizer = OptimizerOptions()
    /// Whether the optimizer's moments rest in host memory.
    package var swapsOptimizer = false
    /// Tokens of a micro-batch's packs, over all ranks that share them.
    package var tokenCount: Int
    /// Tokens of them that have a loss.
    package var targetCount: Int
    /// Tokens of each sample.
    package var sampleLength: Int
    /// Micro-batches of one rank a step.
    package var microBatchCount = 1
    /// Tokens of a pack that is evaluated between steps; 0 where none is.
    package var evaluatedTokenCount = 0
    /// Rows that come to a rank's experts, as a multiple of the mean.
    package var expertLoad = 1.0

    /// One rank, one micro-batch of one sample, every token with a loss.
    package init(model: ModelConfiguration, tokenCount: Int) {
      self.model = model
      self.tokenCount = tokenCount
      targetCount = tokenCount
      sampleLength = tokenCount
    }
  }

  /// The steps.
  package let moments: [DryRun.Moment]
  /// Bytes at the moment when they are most.
  package let peak: MemoryParts
  /// The action of the schedule at that moment, such as `loss #0`.
  package let moment: String
  /// Bytes between two steps.
  package let resting: MemoryParts

  /// Goes through two steps: the first makes buffers and gradients that are there from then on.
  package init(_ setting: Setting) {
    let run = DryRun(setting)
    moments = run.moments
    let most = moments.max { $0.memory.peak.total < $1.memory.peak.total }
    peak = most?.memory.peak ?? MemoryParts()
    moment = most?.name ?? ""
    resting = moments.last?.memory.live ?? MemoryParts()
  }
}

extension MemoryEstimate.Setting {
  /// The setting of a run: packs that are full, and one sample a pack.
  package init(
    _ configuration: RunConfiguration, model: ModelConfiguration, layout: ParallelLayout,
    deviceKind: Device.Kind = .cpu
  ) {
    let (training, length) = (configuration.training, configuration.data.sequenceLength)
    self.init(model: model, tokenCount: length * training.microBatchPacks)
    computeDType = DType(configuration.model.dtype)
    float8Modules = configuration.float8Modules
    float8Products = configuration.float8Products
    self.layout = layout
    self.deviceKind = deviceKind
    options = TrainingEngine.Options(configuration, layerCount: model.layers.count)
    optimizer = configuration.optimizer
    swapsOptimizer = training.swapsOptimizer
    sampleLength = length
    let packsOfRanks = training.microBatchPacks * layout.dataRankCount
    microBatchCount = (training.packsPerStep + packsOfRanks - 1) / packsOfRanks
    let data = configuration.data
    if !data.evaluation.isEmpty || data.validationSplit != nil { evaluatedTokenCount = length }
  }
}
