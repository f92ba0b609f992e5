import Foundation
import XTunerRun
import XTunerSynthesis
import XTunerTokenizers
import XTunerTrainer

/// The files of the demo: its data, tokenizer and configuration, all made here and all kept, so
/// that every step can be repeated with the ordinary commands.
struct DemoFiles {
  /// The folder of everything.
  let root: String

  /// Problems to train on, held out with unseen questions, and held out with unseen numbers.
  static let trainingCount = 30_000
  static let heldOutCount = 500
  static let unseenNumbersCount = 300
  /// 256 bytes, 253 merges and three special tokens.
  static let vocabularySize = 512
  /// Problems that the tokenizer is trained on.
  static let tokenizerSampleCount = 5000

  var trainingData: String { "\(root)/data/train.jsonl" }
  var heldOutData: String { "\(root)/data/unseen_text.jsonl" }
  var unseenNumbersData: String { "\(root)/data/unseen_numbers.jsonl" }
  var tokenizer: String { "\(root)/tokenizer" }
  var configuration: String { "\(root)/demo.yaml" }
  var run: String { "\(root)/run" }
  private var marker: String { "\(root)/.xtuner-demo" }

  /// Makes the folder anew; only a folder that an earlier demo made is replaced.
  func clear() throws {
    let manager = FileManager.default
    if manager.fileExists(atPath: root) {
      let isEmpty = try manager.contentsOfDirectory(atPath: root).isEmpty
      guard isEmpty || manager.fileExists(atPath: marker) else {
        throw CommandFailure(
          .storage, "\(root): exists and is not a demo's folder; choose another with --out")
      }
      try manager.removeItem(atPath: root)
    }
    try manager.createDirectory(atPath: "\(root)/data", withIntermediateDirectories: true)
    try Data("made by xtuner demo\n".utf8).write(to: URL(fileURLWithPath: marker))
  }

  /// Writes the three sets as JSON lines in the OpenAI messages format.
  func writeData() throws -> (heldOut: [ArithmeticProblem], unseenNumbers: [ArithmeticProblem]) {
    let training = ArithmeticProblem.make(seed: 1, count: Self.trainingCount, split: .train)
    let heldOut = ArithmeticProblem.make(seed: 2, count: Self.heldOutCount, split: .unseenText)
    let numbers = ArithmeticProblem.make(
      seed: 3, count: Self.unseenNumbersCount, split: .unseenNumbers)
    for (path, problems) in [
      (trainingData, training), (heldOutData, heldOut), (unseenNumbersData, numbers),
    ] {
      let lines = problems.map { problem in
        #"{"messages": [{"role": "user", "content": "\#(problem.question)"}, "#
          + #"{"role": "assistant", "content": "\#(problem.answer)"}]}"# + "\n"
      }
      try Data(lines.joined().utf8).write(to: URL(fileURLWithPath: path))
    }
    return (heldOut, numbers)
  }

  /// Trains the tokenizer on the first problems.
  func trainTokenizer() throws -> Tokenizer {
    var trainer = try BytePairTrainer(
      vocabularySize: Self.vocabularySize,
      specialTokens: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], endToken: "<|im_end|>",
      padToken: "<|endoftext|>")
    let sample = ArithmeticProblem.make(seed: 1, count: Self.tokenizerSampleCount, split: .train)
    for problem in sample {
      for text in [problem.question, problem.answer, "user\n", "assistant\n"] { trainer.add(text) }
    }
    let trained = try trainer.train()
    try trained.save(to: tokenizer)
    return try Tokenizer(path: tokenizer)
  }

  /// Writes the configuration that trains the model: an ordinary one, to be changed and run again.
  func writeConfiguration(_ tokenizer: Tokenizer, threads: Int) throws {
    guard let end = tokenizer.id(of: "<|im_end|>") else {
      throw DemoError("\(self.tokenizer): has no <|im_end|>")
    }
    let text = """
      # The configuration of `xtuner demo`. Train it again with
      #   xtuner train \(configuration) --set run.directory=runs/mine
      run:
        name: demo
        directory: \(run)
        seed: 1
        threads: \(threads)
      model:
        dtype: f32
        architecture:
          architectures: [Qwen3MoeForCausalLM]
          model_type: qwen3_moe
          vocab_size: \(tokenizer.vocabularySize)
          hidden_size: 192
          intermediate_size: 448
          num_hidden_layers: 4
          num_attention_heads: 6
          num_key_value_heads: 2
          head_dim: 32
          num_experts: 32
          num_experts_per_tok: 2
          moe_intermediate_size: 224
          norm_topk_prob: true
          decoder_sparse_step: 1
          mlp_only_layers: []
          hidden_act: silu
          rms_norm_eps: 1.0e-6
          rope_theta: 10000.0
          max_position_embeddings: 1024
          attention_bias: false
          tie_word_embeddings: false
          # Small models learn far faster from larger first weights than the usual 0.02.
          initializer_range: 0.08
          eos_token_id: \(end)
      tokenizer:
        path: \(self.tokenizer)
      data:
        train: \(trainingData)
        evaluation: \(heldOutData)
        template: qwen3-2507
        sequence_length: 512
        cache_directory: \(root)/cache
      training:
        steps: 732
        packs_per_step: 4
        micro_batch_packs: 4
      optimizer:
        learning_rate: 2.0e-3
        weight_decay: 0.1
      schedule:
        name: cosine
        warmup_steps: 30
        minimum_learning_rate_ratio: 0.02
      loss:
        balance_loss: 0.01
      evaluation:
        every_steps: 183
        max_packs: 20
      checkpoint:
        every_steps: 366
        keep: 2
      logging:
        every_steps: 61

      """
    try Data(text.utf8).write(to: URL(fileURLWithPath: configuration))
  }
}

/// A demo that cannot go on.
struct DemoError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
