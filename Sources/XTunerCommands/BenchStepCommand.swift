package import ArgumentParser
package import XTunerConfiguration
import XTunerInput

/// `xtuner bench step`: whole training steps.
package struct BenchStepCommand: EngineCommand {
  package static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "Measures whole training steps of a Qwen3-MoE model with 140 M parameters.",
    discussion: """
      A step is forward, backward, clipping by the gradient norm and AdamW, on one pack of fresh \
      random tokens. --preset takes the sizes of a published model, and the options of sizes \
      replace single ones. Tokens go where the router sends them, unless --forced-routing is given. \
      The JSON line has the keys of the benchmark scripts of other engines. For their sake the \
      environment variables SEQ, STEPS and THREADS are the defaults of --seq, --steps and \
      --threads; no other command reads them.

      EXAMPLES:
        xtuner bench step
        xtuner bench step --seq 8192 --steps 5 --json
        xtuner bench step --profile
        xtuner bench step --device cuda --preset Qwen3-8B --layers 9 --seq 16384
        xtuner bench step --set training.recompute=full --idle
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

  @Option(help: "What to compute on: cpu, cuda or npu.")
  package var device = RunOptions.DeviceChoice.cpu

  @Option(
    help: ArgumentHelp(
      "Take the sizes of a published model, such as Qwen3-30B-A3B.", valueName: "name"))
  package var preset: String?

  @Option(name: .customLong("layers"), help: "Decoder layers (default: 8).")
  package var layerCount: Int?

  @Option(name: .customLong("hidden"), help: "Hidden size (default: 512).")
  package var hiddenSize: Int?

  @Option(name: .customLong("experts"), help: "Experts a layer (default: 32).")
  package var expertCount: Int?

  @Option(
    name: .customLong("experts-per-token"),
    help: "Experts that a token is sent to (default: 4).")
  package var expertsPerToken: Int?

  @Option(
    name: .customLong("expert-size"), help: "Intermediate size of an expert (default: 256).")
  package var expertSize: Int?

  @Option(
    name: .customLong("dense-size"),
    help: "Intermediate size of a dense feed-forward layer, which takes the place of experts.")
  package var denseSize: Int?

  @Option(name: .customLong("vocabulary"), help: "Vocabulary size (default: 32768).")
  package var vocabularySize: Int?

  @Option(name: .customLong("heads"), help: "Query heads (default: 8).")
  package var headCount: Int?

  @Option(name: .customLong("kv-heads"), help: "Key and value heads (default: 2).")
  package var keyValueHeadCount: Int?

  @Option(name: .customLong("head-dimension"), help: "Size of a head (default: 64).")
  package var headDimension: Int?

  @Option(
    name: .customLong("embedding-deviation"),
    help: "Standard deviation of the first embedding; 1 spreads tokens over all experts.")
  package var embeddingDeviation = 1.0

  @Option(help: "Number type of weights and computation: f32 or bf16.")
  package var dtype = ModelOptions.ComputeType.bf16

  @Option(
    help: """
      Number type of what AdamW keeps: f32, master weights and moments as in training by default; or \
      bf16, moments alone and no master, as in the benchmark scripts of other engines.
      """)
  package var state = OptimizerOptions.State.f32

  @Option(
    name: .customLong("forced-routing"),
    help: ArgumentHelp(
      "Choose experts by rule and not by the router, for a known load: uniform or random.",
      valueName: "rule"))
  package var forcedRouting: ForcedRoutingRule?

  @Option(help: "Layers whose activations are computed again in the backward pass.")
  package var recompute: Int?

  @Option(
    name: .customLong("set"),
    help: ArgumentHelp(
      "An option of training (\(settableText)); may be given several times.",
      valueName: "key=value"))
  package var overrides: [String] = []

  @Option(
    help: """
      Seconds to wait before measuring on a CPU until other processes leave it alone; 0 measures at \
      once, and what others do then spoils steps.
      """)
  package var patience = 60.0

  @Flag(
    help: """
      Trace three more steps: the share of their time in which the device did nothing, and what \
      it did in the rest. On a CPU, the time outside operations.
      """)
  package var idle = false

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

  /// Keys of a configuration that mean something without data.
  package static let settable = [
    "model.fp8", "model.fp8_modules", "training.recompute", "training.kept_stages",
    "training.swap_activations", "training.swap_optimizer", "loss.chunk_size", "loss.z_loss",
    "loss.balance_loss", "loss.router_z_loss", "run.deterministic",
  ]
  private static let settableText = settable.joined(separator: ", ")

  package init() {}

  package var request: EngineRequest { .benchStep(self) }

  package func validate() throws {
    let counts: [(String, Int?, Int, UpperBound<Int>)] = [
      ("--warm", warmUpCount, 0, .steps), ("--layers", layerCount, 1, .blocks),
      ("--hidden", hiddenSize, 1, .hiddenSize), ("--experts", expertCount, 1, .experts),
      ("--experts-per-token", expertsPerToken, 1, .experts),
      ("--expert-size", expertSize, 1, .width),
      ("--vocabulary", vocabularySize, 2, .vocabulary), ("--dense-size", denseSize, 1, .width),
      ("--heads", headCount, 1, .heads), ("--kv-heads", keyValueHeadCount, 1, .heads),
      ("--head-dimension", headDimension, 2, .heads), ("--recompute", recompute, 0, .blocks),
      ("--seq", sequenceLengthOption, 2, .tokens), ("--steps", stepCountOption, 1, .steps),
      ("--threads", threadCountOption, 1, .threads),
    ]
    for (option, value, minimum, bound) in counts {
      try OptionLimits.check(option, value, from: minimum, bound)
    }
    try OptionLimits.check("--patience", patience, "0 or more", .patience) { $0 >= 0 }
    try OptionLimits.check(
      "--embedding-deviation", embeddingDeviation, "0 or more", .deviation
    ) { $0 >= 0 }
    guard state == .f32 || dtype == .bf16 else {
      throw ValidationError("--state bf16 needs --dtype bf16, which is \(dtype.rawValue)")
    }
    guard denseSize == nil || forcedRouting == nil else {
      throw ValidationError("--forced-routing needs experts, which --dense-size replaces")
    }
    try checkSizes()
    try checkOverrides()
  }

  /// Checks sizes against each other where no preset gives the rest.
  private func checkSizes() throws {
    guard preset == nil else { return }
    let (experts, chosen) = (expertCount ?? 32, expertsPerToken ?? 4)
    guard chosen <= experts else {
      throw ValidationError(
        "--experts-per-token must be at most --experts (\(experts)), is \(chosen)")
    }
    let (heads, keyValueHeads) = (headCount ?? 8, keyValueHeadCount ?? 2)
    guard heads.isMultiple(of: keyValueHeads) else {
      throw ValidationError("--kv-heads must divide --heads (\(heads)), is \(keyValueHeads)")
    }
  }

  private func checkOverrides() throws {
    for text in overrides {
      let key = text.prefix { $0 != "=" }
      guard key.count < text.count else {
        throw ValidationError("--set needs KEY=VALUE, such as training.recompute=full, is \(text)")
      }
      guard Self.settable.contains(String(key)) else {
        throw ValidationError(
          """
          --set \(key): bench step takes \(Self.settableText); other options of training need data \
          or have an option of their own here
          """)
      }
      guard key != "training.recompute" || recompute == nil else {
        throw ValidationError("--recompute and --set \(text) cannot both be given; keep one")
      }
    }
  }

  /// Tokens of the pack: `--seq`, else `SEQ`, else 2048.
  package func sequenceLength(environment: [String: String]) throws -> Int {
    try sequenceLengthOption ?? Self.count("SEQ", from: 2, .tokens, in: environment) ?? 2048
  }

  /// Measured steps: `--steps`, else `STEPS`, else 11.
  package func stepCount(environment: [String: String]) throws -> Int {
    try stepCountOption ?? Self.count("STEPS", from: 1, .steps, in: environment) ?? 11
  }

  /// CPU threads: `--threads`, else `THREADS`, else 2.
  package func threadCount(environment: [String: String]) throws -> Int {
    try threadCountOption ?? Self.count("THREADS", from: 1, .threads, in: environment) ?? 2
  }

  private static func count(
    _ name: String, from minimum: Int, _ bound: UpperBound<Int>, in environment: [String: String]
  ) throws -> Int? {
    guard let text = environment[name] else { return nil }
    guard let value = Int(text), value >= minimum else {
      throw ValidationError(
        "the environment variable \(name) must be a number of at least \(minimum), is \(text)")
    }
    try OptionLimits.check("the environment variable \(name)", value, from: minimum, bound)
    return value
  }
}
