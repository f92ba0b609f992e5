import Foundation
import XTunerTokenizers

extension EngineRun {
  /// Writes a tokenizer, data and a configuration.
  func writeInputs(in folder: String) throws {
    var trainer = try BytePairTrainer(
      vocabularySize: 300, specialTokens: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    let texts = (0..<97).map { "The number \($0) and its square \($0 * $0) are here.\n" }
    for text in texts { trainer.add(text) }
    try trainer.train().save(to: "\(folder)/tokenizer")
    let lines = texts.enumerated().map { index, text in
      #"{"text": "\#(text.dropLast())\#(String(repeating: " again", count: index % 7))"}"#
    }
    try write(lines.joined(separator: "\n"), to: "data.jsonl")
    try write(
      Self.configuration(folder: folder, timeoutSeconds: Self.timeoutSeconds), to: "config.yaml")
  }

  func write(_ text: String, to name: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
  }

  /// A mixture of 6 experts with 4 heads, which 2 and 3 ranks can divide; the learning rate does not
  /// depend on the number of steps, so that a longer run goes on as a shorter one began.
  private static func configuration(folder: String, timeoutSeconds: Int) -> String {
    """
    run: {name: tiny, seed: 5, threads: 1}
    model:
      dtype: f32
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
        num_experts: 6
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
      sequence_length: 64
      cache_directory: \(folder)/cache
      workers: 1
    training: {steps: 9, packs_per_step: 4, micro_batch_packs: 1}
    optimizer: {learning_rate: 1.0e-2}
    schedule: {name: constant, warmup_steps: 2}
    checkpoint: {every_steps: 3, keep: 9}
    parallel: {timeout_seconds: \(timeoutSeconds)}
    export: {at_end: false}
    logging: {console: quiet, tensorboard: false}
    """
  }
}
