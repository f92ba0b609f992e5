import XTunerInput

/// The section `run`: identity and reproducibility of a run.
public struct RunOptions: Sendable, Equatable {
  /// Which device each process computes on.
  public enum DeviceChoice: String, Sendable, CaseIterable {
    /// An accelerator where one can be used, the CPU otherwise.
    case auto
    /// The processor.
    case cpu
    /// NVIDIA GPUs.
    case cuda
    /// Ascend NPUs.
    case npu
  }

  /// Name of the run; empty only before resolution.
  public var name = ""
  /// The run directory; `nil` only before resolution.
  public var directory: String?
  /// Seed of weights, data order and sampling.
  public var seed = 0
  /// Which device each process computes on.
  public var device = DeviceChoice.auto
  /// Threads of tensor operations in each process; 0 divides the cores among the processes.
  public var threads = 0
  /// Whether only reproducible kernels may run.
  public var deterministic = false

  /// Creates the section with its defaults.
  public init() {}
}

extension RunOptions: ConfigurationSection {
  static let summary = "What the run is called, where it lives, and what makes it reproducible."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "name", \.name, .text("name"), computedDefault: "the configuration file's name",
      "Name of the run, shown in logs and used for its directory."),
    .init(
      "directory", \.directory, .optional(.text("path")), computedDefault: "runs/NAME",
      """
      Run directory: configuration, metrics, log, checkpoints and export. Relative paths start \
      where xtuner is started, as everywhere in this file.
      """),
    .init(
      "seed", \.seed, .integer(from: 0, .seed),
      "Seed of random weights and of the order of the data."),
    .init(
      "device", \.device, .choice(),
      """
      What each process computes on: its local rank's GPU (cuda) or Ascend NPU (npu), or the \
      processor. auto takes a GPU or NPU that can be used, else the processor, and says which. A \
      device that is asked for and cannot be used is an error.
      """),
    .init(
      "threads", \.threads, .integer(from: 0, .threads),
      """
      CPU threads of tensor operations in each process; 0 divides the cores, or a container's quota \
      of them, among the processes of a machine. OMP_NUM_THREADS is not heeded: torchrun sets it to 1.
      """),
    .init(
      "deterministic", \.deterministic, .flag,
      "Use only kernels whose result does not vary between two runs; slower on some devices."),
  ]
}

/// The section `tokenizer`.
public struct TokenizerOptions: Sendable, Equatable {
  /// Folder or file of the tokenizer; `nil` only before resolution.
  public var path: String?

  /// Creates the section with its defaults.
  public init() {}
}

extension TokenizerOptions: ConfigurationSection {
  static let summary = "How text becomes tokens."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "path", \.path, .optional(.text("path")), computedDefault: "model.path",
      "Hugging Face folder, tokenizer.json or tiktoken file.")
  ]
}
