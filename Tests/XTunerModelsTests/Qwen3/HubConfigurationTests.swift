import Foundation
import Testing

@testable import XTunerModels

/// The two spellings of the same small models.
enum ConfigurationText {
  static let denseHub = """
    {"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
     "bos_token_id": 3, "eos_token_id": 5, "head_dim": 32, "hidden_act": "silu",
     "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 96,
     "max_position_embeddings": 40960, "max_window_layers": 2, "model_type": "qwen3",
     "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2,
     "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
     "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
     "use_sliding_window": false, "vocab_size": 157, "x_future_key": {"b": 1.50, "a": [null]}}
    """
  static let mixtureV5 = """
    {"architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
     "bos_token_id": null, "decoder_sparse_step": 1, "dtype": "float32", "eos_token_id": [5, 7],
     "head_dim": 32, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
     "intermediate_size": 96, "max_position_embeddings": 4096, "mlp_only_layers": [],
     "model_type": "qwen3_moe", "moe_intermediate_size": 37, "norm_topk_prob": true,
     "num_attention_heads": 4, "num_experts_per_tok": 3, "num_hidden_layers": 3,
     "num_key_value_heads": 2, "num_local_experts": 11, "output_router_logits": false,
     "pad_token_id": null, "rms_norm_eps": 1e-06,
     "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
     "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
     "transformers_version": "5.23.0", "use_sliding_window": false, "vocab_size": 157}
    """

  /// A text with members replaced (by JSON) or removed (by nil).
  static func changing(_ text: String, _ changes: [String: String?]) throws -> String {
    var object = try #require(try JSONDocument(parsing: Array(text.utf8)).object)
    for (key, value) in changes.sorted(by: { $0.key < $1.key }) {
      object[key] = try value.map { try JSONDocument(parsing: Array($0.utf8)) }
    }
    return JSONDocument.object(object).indentedText()
  }
}

@Suite struct HubConfigurationTests {
  private func read(_ text: String, _ changes: [String: String?] = [:]) throws
    -> ModelConfiguration
  {
    let text = try ConfigurationText.changing(text, changes)
    return try ModelConfiguration(parsing: Array(text.utf8), file: "config.json")
  }

  /// The messages a text is refused with.
  private func problems(_ text: String, _ changes: [String: String?] = [:]) throws -> [String] {
    let error = #expect(throws: ModelConfigurationError.self) { try read(text, changes) }
    return error?.problems.map { "\($0.key): \($0.reason)" } ?? []
  }

  @Test func readsTheHubSpelling() throws {
    var found = try read(ConfigurationText.denseHub)
    found.source = nil
    #expect(
      found
        == .qwen3(
          vocabularySize: 157, hiddenSize: 64, intermediateSize: 96, layerCount: 3, headCount: 4,
          keyValueHeadCount: 2, headSize: 32, tiesEmbeddings: true, beginTokenID: 3,
          endTokenIDs: [5]))
  }

  @Test func readsTheVersion5Spelling() throws {
    var found = try read(ConfigurationText.mixtureV5)
    found.source = nil
    var expected = ModelConfiguration.qwen3MoE(
      vocabularySize: 157, hiddenSize: 64, expertCount: 11, expertsPerToken: 3, expertSize: 37,
      layerCount: 3, headCount: 4, keyValueHeadCount: 2, headSize: 32, intermediateSize: 96,
      maximumPositionCount: 4096, endTokenIDs: [5, 7])
    expected.weightType = "float32"
    #expect(found == expected)
  }

  @Test(arguments: [ConfigurationText.denseHub, ConfigurationText.mixtureV5])
  func exportReadsBackTheSame(text: String) throws {
    let original = try read(text)
    var again = try read(try original.configurationText())
    again.source = original.source
    #expect(again == original)
  }

  @Test func exportUsesTheHubSpellingAndKeepsUnknownKeys() throws {
    let mixture = try #require(
      JSONDocument(parsing: Array(read(ConfigurationText.mixtureV5).configurationText().utf8))
        .object)
    #expect(mixture["rope_parameters"] == nil && mixture["dtype"] == nil)
    #expect(mixture["num_local_experts"] == nil)
    #expect(mixture["num_experts"] == .integer(11) && mixture["rope_theta"] == .integer(1_000_000))
    #expect(mixture["torch_dtype"] == .string("float32") && mixture["rope_scaling"] == .null)
    #expect(mixture["transformers_version"] == .string("5.23.0"))
    let dense = try read(ConfigurationText.denseHub).configurationText()
    #expect(dense.contains("\"x_future_key\": {\n    \"b\": 1.50,\n    \"a\": [\n      null"))
  }

  @Test func sayWhichArchitecturesAreSupported() throws {
    let message =
      "LlamaForCausalLM (model_type llama) is not supported; supported: "
      + "Qwen3ForCausalLM (model_type qwen3), Qwen3MoeForCausalLM (model_type qwen3_moe)"
    let other = ["architectures": #"["LlamaForCausalLM"]"#, "model_type": #""llama""#]
    #expect(try problems(ConfigurationText.denseHub, other) == ["architectures: \(message)"])
    let mixed = try problems(ConfigurationText.denseHub, ["model_type": #""qwen3_moe""#])
    #expect(mixed.count == 1 && mixed[0].contains("contradicts model_type qwen3_moe"))
    let none = try problems(ConfigurationText.denseHub, ["model_type": nil, "architectures": nil])
    #expect(none.count == 1 && none[0].hasPrefix("model_type: is missing"))
    #expect(try problems(#"{"model_type": "gpt_oss"}"#)[0].contains("gpt_oss is not supported"))
    #expect(try read(ConfigurationText.denseHub, ["model_type": nil]).family == .qwen3)
    #expect(try read(ConfigurationText.denseHub, ["architectures": nil]).family == .qwen3)
  }

  @Test func reportsEveryProblemAtOnceInFileOrder() throws {
    let found = try problems(
      ConfigurationText.mixtureV5,
      [
        "num_attention_heads": "5", "head_dim": "33", "num_experts_per_tok": "12",
        "vocab_size": "0", "rms_norm_eps": nil, "hidden_size": "\"64\"", "hidden_act": "\"gelu\"",
        "attention_dropout": "0.1", "eos_token_id": nil,
      ])
    let keys = found.map { $0.prefix { $0 != ":" } }
    #expect(
      keys == [
        "attention_dropout", "head_dim", "hidden_act", "hidden_size", "num_attention_heads",
        "num_experts_per_tok", "vocab_size", "rms_norm_eps",
      ], "\(found)")
    #expect(found.contains("num_experts_per_tok: must not be above num_experts (11), is 12"))
    #expect(
      found.contains("num_attention_heads: must be a multiple of num_key_value_heads (2), is 5"))
    #expect(found.contains("hidden_size: must be a whole number, is \"64\""))
  }

  @Test(arguments: [
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings", "rms_norm_eps", "moe_intermediate_size",
    "num_experts_per_tok", "num_local_experts", "norm_topk_prob",
  ])
  func namesAMissingKey(key: String) throws {
    let found = try problems(ConfigurationText.mixtureV5, [key: nil])
    #expect(found.count == 1, "\(found)")
    #expect(found[0].contains(key) && found[0].contains("is missing"), "\(found)")
  }

  @Test func fillsInOnlyDocumentedDefaults() throws {
    let found = try read(
      ConfigurationText.denseHub,
      [
        "tie_word_embeddings": nil, "attention_bias": nil, "initializer_range": nil,
        "torch_dtype": nil, "use_sliding_window": nil, "hidden_act": nil, "bos_token_id": nil,
        "max_window_layers": nil,
      ])
    #expect(!found.tiesEmbeddings && found.initializerRange == 0.02 && found.beginTokenID == nil)
    #expect(found.weightType == "bfloat16")
    #expect(try problems(ConfigurationText.denseHub, ["rope_theta": nil])[0].contains("rope_theta"))
    #expect(try problems(ConfigurationText.denseHub, ["intermediate_size": nil]).count == 1)
  }

  @Test func contradictorySpellingsAreProblems() throws {
    #expect(try read(ConfigurationText.mixtureV5, ["num_experts": "11"]).layers.count == 3)
    let experts = try problems(ConfigurationText.mixtureV5, ["num_experts": "13"])
    #expect(experts.count == 1 && experts[0].contains("num_experts, another spelling"))
    let base = try problems(ConfigurationText.mixtureV5, ["rope_theta": "10000"])
    #expect(base == ["rope_theta: is 10000.0, but rope_parameters.rope_theta is 1000000.0"])
    let scaling = try problems(
      ConfigurationText.mixtureV5, ["rope_scaling": #"{"type": "linear", "factor": 2}"#])
    #expect(scaling.count == 1 && scaling[0].contains("contradicts rope_parameters"))
  }

  @Test func slidesOnlyWhereTheFileSaysSo() throws {
    func windows(_ text: String, _ changes: [String: String?]) throws -> [Int?] {
      try read(text, changes).layers.map(\.attention.window)
    }
    let dense = ConfigurationText.denseHub
    #expect(try windows(dense, ["sliding_window": "13"]) == [nil, nil, nil])
    let on: [String: String?] = ["sliding_window": "13", "use_sliding_window": "true"]
    #expect(try windows(dense, on) == [nil, nil, 13])
    #expect(try windows(ConfigurationText.mixtureV5, on) == [13, 13, 13])
    let types = #"["sliding_attention", "full_attention", "full_attention"]"#
    let typed = on.merging(["layer_types": types]) { $1 }
    #expect(try windows(dense, typed) == [13, nil, nil])
    #expect(
      try read(try read(dense, typed).configurationText()).layers[0].attention.window
        == 13)
    #expect(try problems(dense, ["layer_types": types])[0].contains("use_sliding_window is false"))
    #expect(try problems(dense, ["layer_types": #"["full_attention"]"#])[0].contains("has 1"))
    #expect(try problems(dense, ["use_sliding_window": "true"])[0].contains("sliding_window"))
    #expect(
      try problems(ConfigurationText.mixtureV5, typed) == [
        "layer_types: qwen3_moe slides in all layers or in none"
      ])
  }

  @Test func readsAndWritesEveryRopeType() throws {
    let yarn = #"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}"#
    let found = try read(ConfigurationText.denseHub, ["rope_scaling": yarn])
    #expect(found.rotary.scaling == .yarn(YaRNScaling(factor: 4, originalPositionCount: 32768)))
    #expect(try read(try found.configurationText()).rotary == found.rotary)
    for scaling in [
      #"{"rope_type": "linear", "factor": 2.5}"#, #"{"rope_type": "dynamic", "factor": 2}"#,
      #"{"rope_type": "default"}"#,
      #"""
      {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 17, "truncate": false,
       "beta_fast": 16, "beta_slow": 2, "mscale": 1.0, "mscale_all_dim": 0.5}
      """#,
    ] {
      let found = try read(ConfigurationText.denseHub, ["rope_scaling": scaling])
      #expect(try read(try found.configurationText()).rotary == found.rotary)
    }
  }

  @Test(arguments: [
    (#"{"rope_type": "longrope", "factor": 2}"#, "rope_scaling.rope_type"),
    (#"{"type": "llama3", "factor": 2}"#, "rope_scaling.type"),
    (#"{"rope_type": "yarn", "factor": 2}"#, "rope_scaling.original_max_position_embeddings"),
    (#"{"rope_type": "linear"}"#, "rope_scaling.factor"),
    (#"{"rope_type": "linear", "factor": 0.5}"#, "rope_scaling.factor"),
    (#"{"rope_type": "linear", "factor": 2, "mrope_section": [1]}"#, "rope_scaling.mrope_section"),
    (
      #"{"rope_type": "default", "partial_rotary_factor": 0.5}"#,
      "rope_scaling.partial_rotary_factor"
    ),
    (#"[1]"#, "rope_scaling"),
  ])
  func refusesRopeItCannotHonour(scaling: String, key: String) throws {
    let found = try problems(ConfigurationText.denseHub, ["rope_scaling": scaling])
    #expect(found.count == 1 && found[0].hasPrefix("\(key): "), "\(found)")
  }

  @Test func theBaseMayStandInsideTheScaling() throws {
    let linear = #"{"rope_type": "linear", "factor": 2, "rope_theta": 5003.0}"#
    let inner = try read(
      ConfigurationText.denseHub, ["rope_theta": nil, "rope_scaling": linear])
    #expect(inner.rotary.base == 5003 && inner.rotary.scaling == .linear(factor: 2))
    #expect(try read(try inner.configurationText()).rotary == inner.rotary)
    let plain = #"{"rope_type": "default", "rope_theta": 5003}"#
    let both: [String: String?] = ["rope_theta": "5003.0", "rope_scaling": plain]
    #expect(try read(ConfigurationText.denseHub, both).rotary.base == 5003)
    // transformers 4 takes the outer base then, transformers 5 the inner.
    #expect(
      try problems(ConfigurationText.denseHub, ["rope_scaling": plain])
        == ["rope_theta: is 1000000.0, but rope_scaling.rope_theta is 5003.0"])
    #expect(
      try problems(ConfigurationText.mixtureV5, ["rope_scaling": plain])
        == ["rope_scaling.rope_theta: is 5003.0, but rope_parameters.rope_theta is 1000000.0"])
    #expect(
      try problems(
        ConfigurationText.denseHub,
        ["rope_theta": nil, "rope_scaling": #"{"rope_type": "default", "rope_theta": "x"}"#]
      ).map { $0.prefix { $0 != ":" } } == ["rope_scaling.rope_theta"])
  }

  @Test func keysBesideTheScalingCountAsInTransformers() throws {
    let yarn = #"{"rope_type": "yarn", "factor": 4}"#
    let outer: [String: String?] = [
      "rope_scaling": yarn, "original_max_position_embeddings": "4099",
    ]
    #expect(
      try read(ConfigurationText.denseHub, outer).rotary.scaling
        == .yarn(YaRNScaling(factor: 4, originalPositionCount: 4099)))
    let other = #"{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 4097}"#
    let found = try problems(
      ConfigurationText.denseHub, outer.merging(["rope_scaling": other]) { $1 })
    #expect(
      found == [
        "rope_scaling.original_max_position_embeddings: is 4097, but "
          + "original_max_position_embeddings beside it is 4099"
      ])
    #expect(
      try problems(ConfigurationText.denseHub, ["partial_rotary_factor": "0.5"])[0]
        .hasPrefix("partial_rotary_factor: must be 1"))
  }

  @Test(arguments: [
    ["num_hidden_layers": "9223372036854775807"], ["num_hidden_layers": "-1"],
    ["hidden_size": "9223372036854775807"], ["num_attention_heads": "0"],
    ["num_key_value_heads": "0"], ["head_dim": "0"], ["vocab_size": "-5"],
    // Nothing that is computed for a message may pass 64 bits.
    ["vocab_size": "-9223372036854775808"], ["hidden_size": "-9223372036854775808"],
    ["num_attention_heads": "-9223372036854775808"], ["head_dim": "-9223372036854775808"],
    ["num_experts_per_tok": "-9223372036854775808"], ["eos_token_id": "-9223372036854775808"],
    ["mlp_only_layers": "[3]"], ["mlp_only_layers": "[-1]"], ["decoder_sparse_step": "0"],
    ["decoder_sparse_step": "4"], ["num_local_experts": "0"], ["rms_norm_eps": "0"],
    ["eos_token_id": "157"], ["eos_token_id": "[1, \"2\"]"], ["dtype": "\"int8\""],
    ["quantization_config": "{}"], ["rope_parameters": "{\"rope_theta\": 1}"],
    ["rope_parameters": "7"], ["tie_word_embeddings": "1"], ["router_aux_loss_coef": "-1"],
  ])
  func refusesDamagedValues(change: [String: String]) throws {
    let found = try problems(ConfigurationText.mixtureV5, change.mapValues { $0 })
    #expect(!found.isEmpty)
    let key = try #require(change.keys.first)
    #expect(found.contains { $0.contains(key) || key == "dtype" }, "\(found)")
  }

  @Test func denseLayersMayStandBetweenExperts() throws {
    let found = try read(
      ConfigurationText.mixtureV5, ["decoder_sparse_step": "2", "mlp_only_layers": "[]"])
    #expect(found.layers.map { $0.feedForward.mixture != nil } == [false, true, false])
    var again = try read(try found.configurationText())
    again.source = found.source
    #expect(again == found)
  }

  @Test func everyTruncationIsAnError() {
    let bytes = Array(ConfigurationText.denseHub.utf8)
    for count in 0..<bytes.count {
      #expect(throws: ModelConfigurationError.self) {
        try ModelConfiguration(parsing: bytes[..<count], file: "config.json")
      }
    }
  }

  @Test func namesTheFile() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let error = #expect(throws: ModelConfigurationError.self) {
      try ModelConfiguration(path: folder)
    }
    #expect(error?.description.hasPrefix("\(folder)/config.json: cannot be read") == true)
    try Data(ConfigurationText.denseHub.utf8)
      .write(to: URL(fileURLWithPath: "\(folder)/config.json"))
    #expect(
      try ModelConfiguration(path: folder) == ModelConfiguration(path: "\(folder)/config.json"))
  }
}
