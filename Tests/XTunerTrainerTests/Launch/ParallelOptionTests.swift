import Testing
import XTunerModels
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

@Suite struct ParallelOptionTests {
  private func load(_ section: String) throws -> RunConfiguration {
    try RunConfiguration.parse(
      """
      model:
        architecture:
          model_type: qwen3_moe
          vocab_size: 97
          hidden_size: 24
          intermediate_size: 40
          moe_intermediate_size: 10
          num_hidden_layers: 2
          num_attention_heads: 6
          num_key_value_heads: 2
          head_dim: 4
          num_experts: 6
          num_experts_per_tok: 2
          norm_topk_prob: true
          max_position_embeddings: 64
          rms_norm_eps: 1.0e-6
          rope_theta: 10000
      data: {train: a.jsonl}
      tokenizer: {path: t}
      training: {steps: 3}
      \(section)
      """, file: "run.yaml")
  }

  private func error(_ section: String, worldSize: Int) throws -> String {
    let configuration = try load(section)
    let model = try configuration.modelConfiguration()
    let error = #expect(throws: ConfigurationError.self) {
      try configuration.parallelLayout(worldSize: worldSize, model: model)
    }
    return error?.description ?? ""
  }

  @Test func defaultsShardOverEveryProcess() throws {
    let configuration = try load("")
    #expect(configuration.parallel == ParallelOptions())
    let layout = try configuration.parallelLayout(
      worldSize: 4, model: try configuration.modelConfiguration())
    #expect(layout.shard == 4)
    #expect(layout.replicate == 1)
    #expect(layout.expert == 1)
  }

  @Test func everyOptionIsRead() throws {
    let options = try load(
      """
      parallel:
        replicate: 2
        expert: 3
        expert_tensor: 5
        sequence: 7
        interleave: 11
        prefetch: 0
        reshard: never
        gradient_wire: bf16
        timeout_seconds: 13
        balance: false
      """
    ).parallel
    #expect(options.replicate == 2)
    #expect(options.expert == 3)
    #expect(options.expertTensor == 5)
    #expect(options.sequence == 7)
    #expect(options.interleave == 11)
    #expect(options.prefetch == 0)
    #expect(options.reshard == .never)
    #expect(options.gradientWire == .bf16)
    #expect(options.timeoutSeconds == 13)
    #expect(!options.balance)
  }

  @Test func unusableValuesAreReportedTogether() throws {
    let error = #expect(throws: ConfigurationError.self) {
      try load(
        """
        parallel:
          replicate: 0
          reshard: after-forward
          gradient_wire: f16
          expert_tensors: 2
          timeout_seconds: 1.5
        """)
    }
    #expect(
      error?.description == """
        run.yaml:22: parallel.replicate: must be a whole number of at least 1, is 0
        run.yaml:23: parallel.reshard: must be one of after_forward, never, is after-forward (did \
        you mean after_forward?)
        run.yaml:24: parallel.gradient_wire: must be one of f32, bf16, is f16 (did you mean bf16?)
        run.yaml:25: parallel.expert_tensors: unknown key; did you mean expert_tensor?
        run.yaml:26: parallel.timeout_seconds: must be a whole number of at least 1, is 1.5
        """)
  }

  @Test func degreesThatDoNotDivideAreReportedTogetherWithTheNearestLayouts() throws {
    #expect(
      try error(
        """
        parallel:
          replicate: 3
          expert: 4
          expert_tensor: 3
          sequence: 8
        """, worldSize: 4) == """
          run.yaml:22: parallel.replicate: must divide the number of processes (4), is 3
          run.yaml:23: parallel.expert: must divide the model's expert count (6), is 4
          run.yaml:24: parallel.expert_tensor: must divide the model's expert width (10), is 3
          run.yaml:25: parallel.sequence: must divide the model's attention heads (6), is 8; nearest \
          layouts for 4 processes: {replicate: 1, expert: 2, expert_tensor: 2, sequence: 2} or \
          {replicate: 2, expert: 1, expert_tensor: 2, sequence: 2} or \
          {replicate: 2, expert: 2, expert_tensor: 1, sequence: 2}
          """)
  }

  @Test func aLayoutLargerThanTheWorldIsRefused() throws {
    #expect(
      try error("parallel: {expert: 2}", worldSize: 1) == """
        run.yaml:21: parallel.expert: must divide the number of processes (1), is 2; nearest \
        layouts for 1 process: {replicate: 1, expert: 1, expert_tensor: 1, sequence: 1}
        """)
  }
}
