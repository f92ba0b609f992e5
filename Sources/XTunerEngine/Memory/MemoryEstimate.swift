package import Torch
package import XTunerConfiguration
package import XTunerModels
package import XTunerNN
package import XTunerParallel

/// Bytes of tensors by what they are for.
package struct MemoryParts: Sendable, Hashable {
  /// Own part of the weights: 4 bytes an element for the float32 master if there is one, and the compute
  /// copy where that is another dtype (2 in bfloat16).
  package var weights = 0
  /// Own part of AdamW's moments, two numbers an element of the dtype of the weights that are updated;
  /// nothing where they rest on the host.
  package var moments = 0
  /// Own part of the float32 gradients.
  package var gradientShards = 0
  /// Buffers that gathered units and whole float32 gradients go round in.
  package var buffers = 0
  /// What collectives take beside their operands, while they run.
  package var collectives = 0
  /// What is kept from forward for backward, and the hidden states on their way.
  package var activations = 0
  /// Gradients of activations.
  package var gradients = 0
  /// Gradients of parameters as they come: of one stage, before they are added to their unit's, or of all
  /// layers where one rank has them alone and there is nothing to add.
  package var parameterGradients = 0
  /// Logits of one chunk and what is computed of them.
  package var head = 0
  /// What operators take for a moment.
  package var working = 0

  package init() {}

  /// The parts with names for people, largest meaning first.
  package static var names: [(name: String, part: any KeyPath<MemoryParts, Int> & Sendable)] {
    [
      ("weights", \.weights), ("moments", \.moments), ("gradient_shards", \.gradientShards),
      ("buffers", \.buffers), ("collectives", \.collectives), ("activations", \.activations),
      ("gradients", \.gradients), ("parameter_gradients", \.parameterGradients), ("head", \.head),
      ("working", \.working),
    ]
  }

  /// The sum of all parts.
  package var total: Int { Self.names.reduce(0) { $0 + self[keyPath: $1.part] } }
}

/// The largest number of bytes that tensors of one rank take in training, and what they are.
///
/// The steps are gone through in thought: the schedule that the engine carries out, with operators
/// that take and give up bytes instead of computing. So every policy, layout and interleaving counts
/// as it is, and the peak is where it is. Not counted: weights being loaded or drawn, evaluation, host
/// buffers of swaps and a checkpoint's copies, which are no tensors, and workspaces below 1 MB.
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
    package var options = TrainingEngine.Options()
    /// Whether there are float32 master weights and moments, or bfloat16 moments alone.
    package var keepsMaster = true
    /// Whether AdamW's moments rest in host memory.
    package var swapsOptimizer = false
    /// Tokens of a micro-batch's packs, over all ranks that share them.
    package var tokenCount: Int
    /// Tokens of them that have a loss.
    package var targetCount: Int
    /// Samples of at least 1024 tokens, for which attention uses libtorch's kernel.
    package var longestSample = 0
    /// Micro-batches of one rank a step.
    package var microBatchCount = 1
    /// Rows that come to a rank's experts, as a multiple of the mean.
    package var expertLoad = 1.0

    /// One rank, one micro-batch, every token with a loss.
    package init(model: ModelConfiguration, tokenCount: Int) {
      self.model = model
      self.tokenCount = tokenCount
      self.targetCount = tokenCount
    }
  }

  /// Bytes at the moment when they are most.
  package let peak: MemoryParts
  /// The action of the schedule at that moment, such as `loss #0`.
  package let moment: String
  /// Bytes between two steps.
  package let resting: MemoryParts

  /// Goes through two steps: the first makes buffers and gradients that are there from then on.
  package init(_ setting: Setting) {
    let step = ImaginedStep(setting)
    for _ in 0..<2 { step.run() }
    (peak, moment, resting) = withExtendedLifetime(step) {
      (step.ledger.peak, step.ledger.peakMoment, step.ledger.live)
    }
  }
}

extension MemoryEstimate.Setting {
  /// The setting of a run: packs that are full, and one sample a pack.
  package init(
    _ configuration: RunConfiguration, model: ModelConfiguration, layout: ParallelLayout
  ) {
    let training = configuration.training
    self.init(
      model: model,
      tokenCount: configuration.data.sequenceLength * training.microBatchPacks)
    computeDType = DType(configuration.model.dtype)
    float8Modules = configuration.float8Modules
    float8Products = configuration.float8Products
    self.layout = layout
    options = TrainingEngine.Options(configuration, layerCount: model.layers.count)
    keepsMaster = configuration.optimizer.state == .f32
    swapsOptimizer = training.swapsOptimizer
    longestSample = configuration.data.sequenceLength
    let packsOfRanks = training.microBatchPacks * layout.dataRankCount
    microBatchCount = (training.packsPerStep + packsOfRanks - 1) / packsOfRanks
  }
}
