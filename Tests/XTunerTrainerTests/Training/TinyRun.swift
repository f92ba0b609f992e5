import Foundation
import XTunerData
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

/// A folder with data, tokenizer and configuration of a run that takes a second.
struct TinyRun {
  let folder: String

  init() throws {
    folder =
      FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var trainer = try BytePairTrainer(
      vocabularySize: 300, specialTokens: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    let texts = (0..<97).map { "The number \($0) and its square \($0 * $0) are here.\n" }
    for text in texts { trainer.add(text) }
    try trainer.train().save(to: "\(folder)/tokenizer")
    let lines = texts.enumerated().map { index, text in
      #"{"text": "\#(text.dropLast())\#(String(repeating: " again", count: index % 7))"}"#
    }
    try write(lines.joined(separator: "\n"), to: "data.jsonl")
  }

  func remove() {
    try? FileManager.default.removeItem(atPath: folder)
  }

  func write(_ text: String, to name: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
  }

  func configuration(run: String, _ overrides: [String] = []) throws -> RunConfiguration {
    try RunConfiguration.parse(
      """
      run: {name: tiny, directory: \(folder)/\(run), seed: 5, device: cpu, threads: 1}
      model:
        dtype: bf16
        architecture:
          architectures: [Qwen3MoeForCausalLM]
          model_type: qwen3_moe
          vocab_size: 300
          hidden_size: 24
          intermediate_size: 40
          num_hidden_layers: 2
          num_attention_heads: 4
          num_key_value_heads: 2
          head_dim: 8
          num_experts: 5
          num_experts_per_tok: 2
          moe_intermediate_size: 16
          norm_topk_prob: true
          decoder_sparse_step: 1
          mlp_only_layers: []
          hidden_act: silu
          rms_norm_eps: 1.0e-6
          rope_theta: 10000.0
          max_position_embeddings: 128
          attention_bias: false
          tie_word_embeddings: false
      tokenizer: {path: \(folder)/tokenizer}
      data:
        train: \(folder)/data.jsonl
        validation_split: 0.1
        sequence_length: 64
        cache_directory: \(folder)/cache
        workers: 1
      training: {steps: 8, packs_per_step: 4, micro_batch_packs: 2}
      optimizer: {learning_rate: 1.0e-2}
      schedule: {warmup_steps: 2}
      evaluation: {every_steps: 4}
      checkpoint: {every_steps: 3, keep: 2}
      logging: {console: quiet}
      """, file: "tiny.yaml", overrides: overrides)
  }

  @discardableResult
  func train(
    run: String, _ overrides: [String] = [], resume: ResumePolicy = .automatic,
    stopRequest: StopRequest = StopRequest()
  ) throws -> TrainingOutcome {
    try TrainingRun(
      try configuration(run: run, overrides), resume: resume, stopRequest: stopRequest
    ).run()
  }

  /// The losses, learning rates and gradient norms of a run, exactly as written.
  func curve(run: String) throws -> [String] {
    let text = try String(contentsOfFile: "\(folder)/\(run)/metrics.jsonl", encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
      guard let object = try? JSONValue(parsing: String(line)), case .object(let members) = object,
        let loss = members["loss"], let norm = members["grad_norm"], let step = members["step"]
      else { return nil }
      return "\(step.text()) \(loss.text()) \(norm.text())"
    }
  }
}
