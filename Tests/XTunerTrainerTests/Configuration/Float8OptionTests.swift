import Testing
import Torch
import XTunerModels
import XTunerNN

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

@Suite struct Float8OptionTests {
  private func load(
    _ model: String, type: String = "qwen3_moe", expertSize: Int = 48, _ rest: String = ""
  ) throws -> RunConfiguration {
    let experts = """
      moe_intermediate_size: \(expertSize)
          num_experts: 6
          num_experts_per_tok: 2
          norm_topk_prob: true
      """
    return try RunConfiguration.parse(
      """
      model:
        architecture:
          model_type: \(type)
          vocab_size: 97
          hidden_size: 64
          intermediate_size: 80
          num_hidden_layers: 2
          num_attention_heads: 6
          num_key_value_heads: 2
          head_dim: 16
          \(type == "qwen3" ? "" : experts)
          max_position_embeddings: 64
          rms_norm_eps: 1.0e-6
          rope_theta: 10000
        \(model)
      data: {train: a.jsonl}
      tokenizer: {path: t}
      training: {steps: 3}
      \(rest)
      """, file: "run.yaml")
  }

  /// The message that a configuration is refused with, when it is read or when its model is made.
  private func refusal(
    _ model: String, type: String = "qwen3_moe", expertSize: Int = 48, _ rest: String = ""
  ) -> String {
    let error = #expect(throws: ConfigurationError.self) {
      _ = try load(model, type: type, expertSize: expertSize, rest).modelConfiguration()
    }
    return error?.description ?? ""
  }

  /// A configuration is read without libtorch, so its list of layers stands beside the engine's own.
  @Test func theLayersOfTheOptionAreThoseOfTheEngine() {
    #expect(
      ModelOptions.Float8Layer.allCases.map(\.rawValue) == Float8Module.allCases.map(\.rawValue))
  }

  @Test func nothingIsFloat8UnlessAskedFor() throws {
    #expect(try load("").float8Modules == [])
    #expect(
      try load("fp8: emulated").float8Modules
        == [.attention, .feedForward, .experts, .sharedExpert])
    let some = try load("fp8: emulated\n  fp8_modules: [experts, head, experts]")
    #expect(some.float8Modules == [.experts, .head])
    #expect(some.model.float8Modules == [.experts, .head])
  }

  @Test func aDeviceThatCannotBeAGPUIsRefusedWithWhatWouldWork() {
    let message = refusal("fp8: native", "run: {device: cpu}")
    #expect(message.contains("model.fp8") && message.contains("run.device is cpu"))
    #expect(message.contains("compute capability 9.0"))
    #expect(message.contains("emulated") && message.contains("none trains in model.dtype"))
  }

  @Test(
    arguments: [
      ("native", "cpu", nil, "run.device auto is cpu here; emulated works here, slowly"),
      ("native", "npu", nil, "run.device auto is npu here; emulated works with run.device cpu"),
      ("native", "cuda", "8.0", "this one has 8.0; emulated works here, slowly"),
      ("native", "cuda", "10.0", "this one has 10.0; emulated works here, slowly"),
      ("native", "cuda", nil, "this one has none that is known"),
      ("native", "cuda", "9.0", nil),
      ("emulated", "cuda", nil, nil),
      ("emulated", "cpu", nil, nil),
      ("emulated", "npu", nil, "emulated runs on CPUs and GPUs"),
      ("none", "npu", nil, nil),
    ] as [(String, String, String?, String?)])
  func float8NeedsADeviceThatComputesIt(
    fp8: String, device: String, capability: String?, refusal: String?
  ) throws {
    let configuration = try load("fp8: \(fp8)")
    var message: String?
    do throws(ConfigurationError) {
      try configuration.checkFloat8(on: device, computeCapability: capability)
    } catch {
      message = error.description
    }
    if let refusal {
      #expect(message?.contains(refusal) == true)
      #expect(message?.contains("model.fp8") == true)
    } else {
      #expect(message == nil)
    }
  }

  @Test func float8NeedsBfloat16AndModulesNeedFloat8() {
    #expect(refusal("fp8: emulated\n  dtype: f32").contains("needs model.dtype bf16"))
    #expect(refusal("fp8_modules: [experts]").contains("is for model.fp8 emulated or native"))
    #expect(refusal("fp8: emulated\n  fp8_modules: []").contains("must name at least one of"))
    #expect(refusal("fp8: emulated\n  fp8_modules: [router]").contains("attention, feed_forward"))
    #expect(refusal("fp8: emulated\n  fp8_modules: experts").contains("[attention, experts]"))
  }

  @Test func aModuleThatTheModelLacksIsRefused() {
    let message = refusal("fp8: emulated\n  fp8_modules: [experts]", type: "qwen3")
    #expect(message.contains("experts: the model has no such layer"))
    #expect(message.contains("it has attention, feed_forward, head"))
  }

  @Test func sizesThatNoDeviceMultipliesAreRefused() throws {
    let message = refusal("fp8: emulated", expertSize: 40)
    // Gate and up are one matrix of 80 rows; the projection back has 40 columns.
    #expect(message.contains("layers.0.experts.down.weight is 64 x 40"))
    #expect(message.contains("leave experts out of model.fp8_modules"))
    _ = try load("fp8: emulated\n  fp8_modules: [attention]", expertSize: 40).modelConfiguration()
    #expect(refusal("fp8: emulated\n  fp8_modules: [head]").contains("head.weight is 97 x 64"))
    // A slice of each expert on two ranks.
    let sliced = refusal("fp8: emulated", "parallel: {expert_tensor: 2}")
    #expect(sliced.contains("layers.0.experts.down.weight is 64 x 24"))
  }

  @Test func exactlyTheNamedModulesAreQuantized() throws {
    let model = try load("").modelConfiguration().makeModel()
    func quantized(_ modules: Set<Float8Module>) -> Set<String> {
      model.useFloat8(in: modules)
      return Set(model.parameters.filter { $0.product == .float8(.emulated) }.map(\.name))
    }
    let attention = (0..<2).flatMap { layer in
      ["query", "key", "value", "output"].map { "layers.\(layer).attention.\($0).weight" }
    }
    let experts = (0..<2).flatMap { layer in
      ["gateUp", "down"].map { "layers.\(layer).experts.\($0).weight" }
    }
    #expect(quantized([.attention]) == Set(attention))
    #expect(quantized([.experts]) == Set(experts))
    #expect(quantized([.head]) == ["head.weight"])
    #expect(quantized(Set(Float8Module.standard)) == Set(attention + experts))
    #expect(quantized([]).isEmpty)
    model.useFloat8(in: [.attention], products: .native)
    #expect(
      Set(model.parameters.filter { $0.product == .float8(.native) }.map(\.name))
        == Set(attention))
    #expect(!model.parameters.contains { $0.product == .float8(.emulated) })
  }
}
