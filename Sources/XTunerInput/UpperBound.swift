/// The largest value that an option takes, and why a larger one cannot be meant.
///
/// Every number that a person gives has one: a typing error is then named where it is, and does not
/// overflow a product or fill the memory somewhere in a run.
package struct UpperBound<Number: Sendable>: Sendable {
  package let value: Number
  /// A clause without a full stop that explains the bound.
  package let reason: String

  package init(_ value: Number, _ reason: String) {
    self.value = value
    self.reason = reason
  }
}

extension UpperBound where Number == Int {
  /// Optimizer steps.
  package static let steps = UpperBound(99_999_999, "checkpoints are numbered in eight digits")
  /// Passes over the data.
  package static let epochs = UpperBound(
    1_000_000, "counts of an epoch's packs are multiplied by it")
  /// Packs of a step, or of an evaluation.
  package static let packs = UpperBound(1_000_000, "their tokens are counted and held together")
  /// Tokens of a pack.
  package static let tokens = UpperBound(
    16_777_216, "rotary positions are exact in float32 up to 2^24")
  /// Tokens whose logits are computed together.
  package static let chunk = UpperBound(16_777_216, "logits of a whole chunk are in memory at once")
  /// Samples that are looked at together.
  package static let samples = UpperBound(
    10_000_000, "lengths of that many samples are held in memory")
  /// Steps whose packs are looked at together.
  package static let groupedSteps = UpperBound(
    10_000, "the packs of that many steps are held in memory")
  /// Bytes of a record of data.
  package static let recordBytes = UpperBound(
    1 << 36, "a record is in memory as a whole, and so are its tokens")
  /// Threads of one process.
  package static let threads = UpperBound(
    1024, "each is a thread of the system with a stack of its own")
  /// Processes of a run.
  package static let ranks = UpperBound(99_999, "logs of processes are numbered in five digits")
  /// Micro-batches that are computed together.
  package static let interleaved = UpperBound(
    1024, "activations of all of them are in memory at once")
  /// Blocks of a model.
  package static let blocks = UpperBound(1024, "no model has as many layers")
  /// Seconds of waiting.
  package static let seconds = UpperBound(2_147_483, "libtorch waits for milliseconds in 31 bits")
  /// Iterations that converge quadratically.
  package static let iterations = UpperBound(100, "singular values no longer move after a dozen")
  /// The hidden size of a model; this and the following as model configurations bound them, so that
  /// products of sizes fit 64 bits.
  package static let hiddenSize = UpperBound(131_072, "no model has rows as long")
  /// The width of a feed-forward layer or an expert.
  package static let width = UpperBound(524_288, "no model has layers as wide")
  /// Heads of an attention, and what each holds.
  package static let heads = UpperBound(4096, "no attention has as many or as large ones")
  /// Rows of a vocabulary.
  package static let vocabulary = UpperBound(16_777_216, "no vocabulary is a tenth of it")
  /// Repetitions of a measurement.
  package static let rounds = UpperBound(1_000_000, "the time of each is kept")
  /// Samples that a person looks at.
  package static let shownSamples = UpperBound(1_000_000, "they are printed one after another")
  /// Lengths that a measurement packs.
  package static let packedSamples = UpperBound(
    1_000_000_000, "lengths of that many samples are held in memory")
  /// Processes of one machine.
  package static let processes = UpperBound(4096, "each holds a model's part and its libraries")
  /// Experts of a layer.
  package static let experts = UpperBound(16_384, "no model has as many")
  /// Positions in a list of samples or tokens.
  package static let index = UpperBound(1_000_000_000_000, "no data set has as many samples")
  /// Checkpoints that are kept.
  package static let checkpoints = UpperBound(1_000_000, "the folder is listed at each checkpoint")
  /// A number that is only mixed into others.
  package static let seed = UpperBound(Int.max, "it is a whole number of 63 bits")
}

extension UpperBound where Number == Double {
  /// Learning rates.
  package static let learningRate = UpperBound(1000, "an update moves a weight by about the rate")
  /// Weight decay.
  package static let weightDecay = UpperBound(
    1e6, "times the learning rate it is the share that a weight loses in a step")
  /// What is added to the root of the mean squared gradient.
  package static let epsilon = UpperBound(
    1, "more than any such root, it would be the update's scale")
  /// Gradient norms.
  package static let norm = UpperBound(1e18, "squares of larger norms are beyond float32")
  /// Shares of a whole.
  package static let share = UpperBound(1, "it is a share")
  /// Temperatures of sampling.
  package static let temperature = UpperBound(1e6, "all tokens are equally likely far below")
  /// Seconds that a person waits.
  package static let patience = UpperBound(2_147_483, "that is more than three weeks")
  /// Standard deviations of first weights.
  package static let deviation = UpperBound(1e6, "logits would leave float32")
  /// Factors of additional losses.
  package static let lossFactor = UpperBound(1e6, "the loss itself would be lost in rounding")
  /// How often a sample is seen.
  package static let copies = UpperBound(1e6, "an epoch lists a sample that often")
}
