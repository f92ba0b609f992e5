import XTunerInput

/// The section `parallel`: how the processes of a run share its work.
public struct ParallelOptions: Sendable, Equatable {
  /// When gathered parameters are given up.
  public enum Reshard: String, Sendable, CaseIterable {
    /// After a block's forward pass; the backward pass gathers them again.
    case afterForward = "after_forward"
    /// After the step.
    case never
  }

  /// The number type in which gradients travel.
  public enum GradientWire: String, Sendable, CaseIterable {
    /// 32-bit floating point.
    case f32
    /// 16-bit floating point with the range of 32 bits.
    case bf16
  }

  /// Copies of the model.
  public var replicate = 1
  /// Processes that the experts of a layer are divided among.
  public var expert = 1
  /// Processes that each expert's width is divided among.
  public var expertTensor = 1
  /// Processes that the tokens of a pack are divided among.
  public var sequence = 1
  /// Micro-batches that go through each block interleaved.
  public var interleave = 1
  /// Blocks that are gathered ahead of use.
  public var prefetch = 1
  /// When gathered parameters are given up.
  public var reshard = Reshard.afterForward
  /// The number type in which gradients travel.
  public var gradientWire = GradientWire.f32
  /// Seconds after which an exchange that does not end is an error.
  public var timeoutSeconds = 600
  /// Whether packs are assigned to processes by their predicted cost.
  public var balance = true

  /// Creates the section with its defaults.
  public init() {}
}

extension ParallelOptions: ConfigurationSection {
  static let summary = "How the processes that --nproc, torchrun or srun start share the work."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "replicate", \.replicate, .integer(from: 1, .ranks),
      """
      Copies of the model, each sharded over its own processes; must divide their number. 1 \
      shards over all of them, which needs the least memory.
      """),
    .init(
      "expert", \.expert, .integer(from: 1, .ranks),
      """
      MoE: neighbouring processes that each hold other experts, to which rows travel; must divide \
      the number of experts and, times expert_tensor, the processes of a copy. 1 gathers experts \
      as all other parameters.
      """),
    .init(
      "expert_tensor", \.expertTensor, .integer(from: 1, .ranks),
      """
      MoE: neighbouring processes that each hold a slice of every expert's width; must divide it.
      """),
    .init(
      "sequence", \.sequence, .integer(from: 1, .ranks),
      """
      Neighbouring processes that share the tokens of a pack, for packs too long for one; must \
      divide the attention heads and the processes of a copy.
      """),
    .init(
      "interleave", \.interleave, .integer(from: 1, .interleaved),
      """
      Micro-batches that go through each block interleaved, so that one computes while the rows \
      of another travel; 1 is off.
      """),
    .init(
      "prefetch", \.prefetch, .integer(from: 0, .blocks),
      "Blocks whose parameters are gathered ahead of use; 0 gathers each when it is needed."),
    .init(
      "reshard", \.reshard, .choice(),
      """
      When gathered parameters are given up: after_forward needs less memory, never saves \
      gathering them again for the backward pass.
      """),
    .init(
      "gradient_wire", \.gradientWire, .choice(),
      """
      Number type in which gradients travel between processes; they are always summed up in f32. \
      bf16 halves the traffic.
      """),
    .init(
      "timeout_seconds", \.timeoutSeconds, .integer(from: 1, .seconds),
      """
      Seconds after which an exchange that does not end stops the run, with an error that names \
      it and the missing processes.
      """),
    .init(
      "balance", \.balance, .flag,
      """
      Whether packs go to processes by their predicted cost, so that none waits long; the same \
      packs make up each step either way.
      """),
  ]
}
