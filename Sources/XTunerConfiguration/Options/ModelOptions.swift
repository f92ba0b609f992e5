/// The section `model`: architecture, weights and compute type.
public struct ModelOptions: Sendable, Equatable {
  /// Where the weights come from.
  public enum Weights: String, Sendable, CaseIterable {
    /// The safetensors of `model.path`.
    case load
    /// Fresh weights from `run.seed`.
    case random
  }

  /// Element type of activations and of the weights that kernels see.
  public enum ComputeType: String, Sendable, CaseIterable {
    /// 32-bit floating point.
    case f32
    /// bfloat16, over master weights in f32.
    case bf16
  }

  /// Whether matrices are multiplied as float8, and by what.
  public enum Float8: String, Sendable, CaseIterable {
    /// In the compute type.
    case none
    /// Operands are rounded to float8 and multiplied in float32: the numbers of a device that has
    /// such products, on one that has not.
    case emulated
    /// By the device.
    case native
  }

  /// Layers whose matrices may be multiplied as float8.
  public enum Float8Layer: String, Sendable, CaseIterable {
    /// Projections to queries, keys and values, and attention's output.
    case attention
    /// Dense feed-forward layers.
    case feedForward = "feed_forward"
    /// Routed experts.
    case experts
    /// The expert that every token passes.
    case sharedExpert = "shared_expert"
    /// The projection onto the vocabulary.
    case head
  }

  /// Hugging Face folder that holds the architecture and, to be loaded, the weights.
  public var path: String?
  /// A published architecture by name.
  public var preset: String?
  /// The keys of a Hugging Face `config.json`, written in the configuration itself.
  public var architecture: ConfigurationValue?
  /// Keys of `config.json` that replace those of the folder or preset.
  public var overrides: ConfigurationValue?
  /// Where the weights come from; `nil` only before resolution.
  public var weights: Weights?
  /// Element type of the computation.
  public var dtype = ComputeType.bf16
  /// Whether matrices are multiplied as float8.
  public var float8 = Float8.none
  /// The layers whose matrices are; `nil` for all that the model has but the head.
  public var float8Modules: [Float8Layer]?

  /// Creates the section with its defaults.
  public init() {}
}

extension ModelOptions: ConfigurationSection {
  static let summary = "Which model is trained. Give exactly one of path, preset, architecture."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "path", \.path, .optional(.text("path")),
      """
      Hugging Face folder: config.json, safetensors and usually the tokenizer. Also a run directory, \
      which means its export, or the name of a model that `hf download` has put into the Hub's cache, \
      such as Qwen/Qwen3-0.6B.
      """),
    .init(
      "preset", \.preset, .optional(.text("name")),
      """
      Published architecture by name, such as qwen3-0.6b or qwen3-30b-a3b; weights are random. Rows \
      of the embedding, begin and end token follow a tokenizer that is not the published one.
      """),
    .init(
      "architecture", \.architecture, .optional(.freeMapping),
      """
      The keys of a Hugging Face config.json, written here; weights are random. vocab_size, \
      bos_token_id and eos_token_id follow the tokenizer where they are left out. A key that has no \
      effect is an error.
      """),
    .init(
      "overrides", \.overrides, .optional(.freeMapping),
      """
      Keys of config.json that replace those of the folder or preset, such as num_hidden_layers. A \
      key that has no effect is an error.
      """),
    .init(
      "weights", \.weights, .optional(.choice()),
      computedDefault: "load with model.path, random without",
      "Where the weights come from: load reads the safetensors of path, random starts fresh."),
    .init(
      "dtype", \.dtype, .choice(),
      """
      Element type of the computation. Master weights and moments are f32 whatever this is, unless \
      optimizer.state is bf16.
      """),
    .init(
      "fp8", \.float8, .choice(),
      """
      Whether matrices are multiplied as float8_e4m3fn, in forward and backward passes: none; \
      emulated rounds the operands so and multiplies them in f32, which shows what float8 does to \
      a training and is slower than none; native has them multiplied by the GPU, which needs \
      compute capability 9.0.
      """),
    .init(
      "fp8_modules", \.float8Modules,
      .optional(.choices("[attention, experts]")),
      computedDefault: "all that the model has, but the head",
      """
      The layers whose matrices are multiplied as float8: attention (its projections), \
      feed_forward, experts, shared_expert, head.
      """),
  ]
}
