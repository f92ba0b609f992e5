import Foundation
import Testing
import XTunerLaunch
import XTunerParallel
import XTunerConfiguration
import XTunerRun
import XTunerEngine
import XTunerTrainer

/// One cell of the memory table: policy, layout and dtype of a run.
struct MemoryCase: Sendable, CustomTestStringConvertible {
  enum Policy: String, Sendable, CaseIterable {
    case none, selective, full, swap
    case swapAll = "swap and optimizer"

    var overrides: [String] {
      switch self {
      case .none: []
      case .selective: ["training.recompute=selective"]
      case .full: ["training.recompute=full"]
      case .swap: Self.full.overrides + ["training.swap_activations=true"]
      case .swapAll: Self.swap.overrides + ["training.swap_optimizer=true"]
      }
    }
  }

  var model = "moe"
  var policy = Policy.none
  var ranks = 1
  var dtype = "bf16"
  var further: [String] = []

  /// Sizes that float8 products take.
  static let float8 = [
    "model.fp8=emulated", "model.architecture.hidden_size=144",
    "model.architecture.intermediate_size=464", "model.architecture.vocab_size=1008",
  ]

  var overrides: [String] { policy.overrides + ["model.dtype=\(dtype)"] + further }

  var testDescription: String {
    (["\(model) \(dtype)", "\(policy.rawValue)", "\(ranks) ranks"] + further)
      .joined(separator: ", ")
  }

  /// All policies on 1, 2 and 4 ranks, the dtypes in turn, and other layouts and schedules.
  static let all: [MemoryCase] =
    Policy.allCases.enumerated().flatMap { row, policy in
      [1, 2, 4].enumerated().map { column, ranks in
        MemoryCase(
          policy: policy, ranks: ranks, dtype: (row + column).isMultiple(of: 2) ? "bf16" : "f32")
      }
    } + [
      MemoryCase(model: "dense", policy: .full, ranks: 2, further: ["parallel.interleave=2"]),
      MemoryCase(model: "dense", ranks: 2, dtype: "f32", further: ["parallel.sequence=2"]),
      MemoryCase(ranks: 4, dtype: "f32", further: ["parallel.replicate=2"]),
      MemoryCase(policy: .full, ranks: 2, further: ["parallel.reshard=never"]),
      MemoryCase(
        policy: .full, ranks: 2, dtype: "f32",
        further: ["parallel.expert=2", "parallel.interleave=2"]),
      MemoryCase(further: float8),
      MemoryCase(policy: .full, ranks: 2, further: float8),
      MemoryCase(policy: .full, ranks: 4, further: float8 + ["parallel.expert=2"]),
      MemoryCase(model: "dense", ranks: 2, further: float8),
      MemoryCase(
        model: "dense", policy: .swapAll, ranks: 4,
        further: float8 + ["model.fp8_modules=[attention, feed_forward, head]"]),
    ]
}

extension EngineRun {
  /// Writes `memory-moe.yaml` and `memory-dense.yaml`: models whose activations, states and buffers
  /// are of like size, on packs of one length.
  func writeMemoryInputs() throws {
    let lines = (0..<400).map {
      #"{"text": "\#(String(repeating: "some words \($0) ", count: 9))"}"#
    }
    try write(lines.joined(separator: "\n"), to: "memory.jsonl")
    let experts = """
      architectures: [Qwen3MoeForCausalLM], model_type: qwen3_moe, num_experts: 8,
          num_experts_per_tok: 3, moe_intermediate_size: 112, norm_topk_prob: true,
          decoder_sparse_step: 1, mlp_only_layers: []
      """
    let dense = "architectures: [Qwen3ForCausalLM], model_type: qwen3"
    for (name, kind) in [("moe", experts), ("dense", dense)] {
      try write(
        """
        run: {name: memory, seed: 5, threads: 1}
        model:
          dtype: f32
          architecture: {\(kind),
            vocab_size: 1009, hidden_size: 136, intermediate_size: 456, num_hidden_layers: 3,
            num_attention_heads: 8, num_key_value_heads: 2, head_dim: 32, hidden_act: silu,
            rms_norm_eps: 1.0e-6, rope_theta: 10000.0, max_position_embeddings: 512,
            attention_bias: false, tie_word_embeddings: false}
        tokenizer: {path: \(folder)/tokenizer}
        data:
          train: \(folder)/memory.jsonl
          packing: split
          sequence_length: 389
          cache_directory: \(folder)/cache-memory
          workers: 1
        training: {steps: 3, packs_per_step: 4, micro_batch_packs: 1}
        loss: {chunk_size: 131}
        optimizer: {learning_rate: 1.0e-3}
        export: {at_end: false}
        parallel: {timeout_seconds: 60}
        logging: {console: quiet, tensorboard: false}
        """, to: "memory-\(name).yaml")
    }
  }

  /// Trains a model of ``writeMemoryInputs()`` on some ranks.
  func train(memory model: String, ranks: Int, run: String, _ overrides: [String]) throws {
    let command = arguments(run: run, overrides, configuration: "\(folder)/memory-\(model).yaml")
    let process = try start(
      "the launcher", [enginePath] + command + (ranks > 1 ? ["--nproc", String(ranks)] : []))
    try #require(try process.wait() == 0, "\(process.output)\n\(log(run: run))")
  }

  /// What the estimate says about it.
  func estimate(memory model: String, ranks: Int, _ overrides: [String]) throws -> MemoryEstimate {
    let configuration = try RunConfiguration.load(
      file: "\(folder)/memory-\(model).yaml", overrides: overrides)
    let shape = try configuration.modelConfiguration()
    return MemoryEstimate(
      .init(
        configuration, model: shape,
        layout: try configuration.parallelLayout(worldSize: ranks, model: shape)))
  }

  /// The numbers of a key of `metrics.jsonl`, a step each.
  func metrics(_ key: String, run: String) -> [Int] {
    let bytes = FileManager.default.contents(atPath: "\(folder)/\(run)/metrics.jsonl") ?? Data()
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let object = try? JSONSerialization.jsonObject(with: line) as? [String: Any]
      return object?[key] as? Int
    }
  }

  /// The numbers of an event in the log of a rank.
  func fields(ofEvent event: String, rank: Int, run: String) throws -> [String: Int] {
    let layout = RunLayout(root: "\(folder)/\(run)")
    let path = rank == 0 ? layout.log : layout.log(ofRank: rank)
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    let line = try #require(lines.first { $0.contains(" \(event) ") }, "\(path) has no \(event)")
    var fields: [String: Int] = [:]
    for word in line.split(separator: " ") {
      let parts = word.split(separator: "=")
      if parts.count == 2, let number = Int(parts[1]) { fields[String(parts[0])] = number }
    }
    return fields
  }
}
