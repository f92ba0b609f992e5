package import ArgumentParser

/// `xtuner bench step`: whole training steps.
package struct BenchStepCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "Measures whole training steps of a Qwen3-MoE model with 140 M parameters.",
    discussion: """
      A step is forward, backward, clipping by the gradient norm and AdamW, on one pack of fresh \
      random tokens. The JSON line has the keys of the benchmark scripts of other engines. For \
      their sake the environment variables SEQ, STEPS and THREADS are the defaults of --seq, \
      --steps and --threads; no other command reads them.

      EXAMPLES:
        xtuner bench step
        xtuner bench step --seq 8192 --steps 5 --json
        xtuner bench step --profile
        SEQ=2048 STEPS=11 xtuner bench step --json
      """)

  @Option(
    name: .customLong("seq"),
    help: "Tokens of the pack, one sample (default: $SEQ or 2048).")
  package var sequenceLengthOption: Int?

  @Option(name: .customLong("steps"), help: "Measured steps (default: $STEPS or 11).")
  package var stepCountOption: Int?

  @Option(name: .customLong("threads"), help: "CPU threads (default: $THREADS or 2).")
  package var threadCountOption: Int?

  @Option(name: .customLong("warm"), help: "Steps before the measured ones.")
  package var warmUpCount = 3

  @Option(name: .customLong("layers"), help: "Decoder layers.")
  package var layerCount = 8

  @Option(name: .customLong("hidden"), help: "Hidden size.")
  package var hiddenSize = 512

  @Option(name: .customLong("experts"), help: "Experts a layer.")
  package var expertCount = 32

  @Option(name: .customLong("experts-per-token"), help: "Experts that a token is sent to.")
  package var expertsPerToken = 4

  @Option(name: .customLong("expert-size"), help: "Intermediate size of an expert.")
  package var expertSize = 256

  @Option(
    name: .customLong("dense-size"),
    help: "Intermediate size of a dense feed-forward layer, which takes the place of experts.")
  package var denseSize: Int?

  @Option(name: .customLong("vocabulary"), help: "Vocabulary size.")
  package var vocabularySize = 32768

  @Option(name: .customLong("heads"), help: "Query heads.")
  package var headCount = 8

  @Option(name: .customLong("kv-heads"), help: "Key and value heads.")
  package var keyValueHeadCount = 2

  @Option(name: .customLong("head-dimension"), help: "Size of a head.")
  package var headDimension = 64

  @Option(
    name: .customLong("embedding-deviation"),
    help: "Standard deviation of the first embedding; 1 spreads tokens over all experts.")
  package var embeddingDeviation = 1.0

  @Option(help: "Number type of weights and computation: f32 or bf16.")
  package var dtype = ComputeType.bfloat16

  @Option(
    help: """
      Number type of what AdamW keeps: f32, master weights and moments as in training by default; or \
      bf16, moments alone and no master, as in the benchmark scripts of other engines.
      """)
  package var state = ComputeType.float32

  @Option(
    name: .customLong("forced-routing"),
    help: ArgumentHelp(
      "Choose experts by rule and not by the router, for a known load: uniform or random.",
      valueName: "rule"))
  package var forcedRouting: ForcedRoutingRule?

  @Option(help: "Layers whose activations are computed again in the backward pass.")
  package var recompute = 0

  @Flag(
    name: .customLong("forbid-waits"),
    help: """
      End with an error where an operation inside a step makes the host wait for the device; not on \
      a CPU, which nothing waits for.
      """)
  package var forbidsWaits = false

  @Flag(
    help: "Run three more steps and print a table of their operations, their rates and limits.")
  package var profile = false

  @Flag(
    name: .customLong("profile-shapes"),
    help: "As --profile, with a line for each operation and input shapes.")
  package var profilesShapes = false

  @Flag(help: "Print one JSON object, with the keys of the other engines' scripts.")
  package var json = false

  package init() {}

  package var request: EngineRequest { .benchStep(self) }

  package func validate() throws {
    let counts = [
      ("--warm", warmUpCount, 0), ("--layers", layerCount, 1), ("--hidden", hiddenSize, 1),
      ("--experts", expertCount, 1), ("--experts-per-token", expertsPerToken, 1),
      ("--expert-size", expertSize, 1), ("--vocabulary", vocabularySize, 2),
      ("--dense-size", denseSize ?? 1, 1),
      ("--heads", headCount, 1), ("--kv-heads", keyValueHeadCount, 1),
      ("--head-dimension", headDimension, 2), ("--recompute", recompute, 0),
      ("--seq", sequenceLengthOption ?? 2, 2), ("--steps", stepCountOption ?? 1, 1),
      ("--threads", threadCountOption ?? 1, 1),
    ]
    for (option, value, minimum) in counts {
      try OptionLimits.check(option, value, minimum: minimum)
    }
    guard state == .float32 || dtype == .bfloat16 else {
      throw ValidationError("--state bf16 needs --dtype bf16, which is \(dtype.rawValue)")
    }
    guard expertsPerToken <= expertCount else {
      throw ValidationError(
        "--experts-per-token must be at most --experts (\(expertCount)), is \(expertsPerToken)")
    }
    guard denseSize == nil || forcedRouting == nil else {
      throw ValidationError("--forced-routing needs experts, which --dense-size replaces")
    }
    guard headCount.isMultiple(of: keyValueHeadCount) else {
      throw ValidationError(
        "--kv-heads must divide --heads (\(headCount)), is \(keyValueHeadCount)")
    }
  }

  /// Tokens of the pack: `--seq`, else `SEQ`, else 2048.
  package func sequenceLength(environment: [String: String]) throws -> Int {
    try sequenceLengthOption ?? Self.count("SEQ", minimum: 2, in: environment) ?? 2048
  }

  /// Measured steps: `--steps`, else `STEPS`, else 11.
  package func stepCount(environment: [String: String]) throws -> Int {
    try stepCountOption ?? Self.count("STEPS", minimum: 1, in: environment) ?? 11
  }

  /// CPU threads: `--threads`, else `THREADS`, else 2.
  package func threadCount(environment: [String: String]) throws -> Int {
    try threadCountOption ?? Self.count("THREADS", minimum: 1, in: environment) ?? 2
  }

  private static func count(
    _ name: String, minimum: Int, in environment: [String: String]
  ) throws -> Int? {
    guard let text = environment[name] else { return nil }
    guard let value = Int(text), value >= minimum else {
      throw ValidationError(
        "the environment variable \(name) must be a number of at least \(minimum), is \(text)")
    }
    return value
  }
}
