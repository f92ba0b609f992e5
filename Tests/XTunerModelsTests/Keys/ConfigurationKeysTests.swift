import Testing

@testable import XTunerModels

/// Every key of a `config.json` that the reader accepts: used, ignored for a reason, or named to people.
///
/// A key that is added to the reader is added here.
@Suite struct ConfigurationKeysTests {
  private static let common: Set<String> = [
    "architectures", "attention_bias", "attention_dropout", "bos_token_id", "dtype", "eos_token_id",
    "head_dim", "hidden_act", "hidden_size", "initializer_range", "intermediate_size",
    "layer_types", "max_position_embeddings", "model_type", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "original_max_position_embeddings", "pad_token_id",
    "partial_rotary_factor", "quantization_config", "rms_norm_eps", "rope_parameters",
    "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings", "torch_dtype",
    "use_sliding_window", "vocab_size",
  ]
  private static let used: [ModelFamily: Set<String>] = [
    .qwen3: common.union(["max_window_layers"]),
    .qwen3MoE: common.union([
      "decoder_sparse_step", "mlp_only_layers", "moe_intermediate_size", "norm_topk_prob",
      "num_experts", "num_experts_per_tok", "num_local_experts", "router_aux_loss_coef",
    ]),
  ]
  private static let ignored: [ModelFamily: Set<String>] = [
    .qwen3: ["_name_or_path", "output_router_logits", "transformers_version", "use_cache"],
    .qwen3MoE: [
      "_name_or_path", "max_window_layers", "output_router_logits", "transformers_version",
      "use_cache",
    ],
  ]
  /// A text of each family in which every key counts.
  private static let texts: [ModelFamily: String] = [
    .qwen3: ConfigurationText.denseHub, .qwen3MoE: ConfigurationText.mixtureV5,
  ]
  private static let sliding: [String: String?] = [
    "use_sliding_window": "true", "sliding_window": "13",
  ]

  private func object(_ text: String, _ changes: [String: String?]) throws -> JSONObject {
    let changed = try ConfigurationText.changing(text, changes)
    return try #require(try JSONDocument(parsing: Array(changed.utf8)).object)
  }

  @Test(arguments: ModelFamily.allCases)
  func theListIsWhatTheReaderAsksFor(family: ModelFamily) throws {
    let text = try #require(Self.texts[family])
    var asked: Set<String> = []
    for changes in [[:], Self.sliding] {
      var reader = ConfigurationReader(try object(text, changes))
      #expect(ModelConfiguration.readFamily(from: &reader) == family)
      _ = family.read(&reader)
      #expect(reader.problems.isEmpty, "\(reader.problems)")
      asked.formUnion(reader.readKeys)
    }
    #expect(asked == Self.used[family])
    #expect(family.usedKeys == Self.used[family])
    let reasons = family.ignoredKeys
    #expect(Set(reasons.keys) == Self.ignored[family])
    #expect(reasons.values.allSatisfy { $0.count > 10 })
    #expect(
      Set(ModelConfiguration.knownKeys(of: family))
        == Self.used[family]?.union(Self.ignored[family] ?? []))
  }

  /// A value that no key can have is refused under each key: nothing on the list is merely tolerated.
  @Test(arguments: ModelFamily.allCases)
  func aSenselessValueIsRefusedUnderEveryUsedKey(family: ModelFamily) throws {
    let text = try #require(Self.texts[family])
    for key in Self.used[family] ?? [] {
      let changes = Self.sliding.merging([key: #"{"no": "sense"}"#]) { $1 }
      let changed = try ConfigurationText.changing(text, changes)
      #expect(throws: ModelConfigurationError.self, "\(key)") {
        try ModelConfiguration(parsing: Array(changed.utf8), file: "config.json")
      }
    }
  }

  @Test func unknownKeysAreNamedInOneLine() throws {
    func model(_ changes: [String: String?]) throws -> ModelConfiguration {
      let text = try ConfigurationText.changing(ConfigurationText.denseHub, changes)
      return try ModelConfiguration(parsing: Array(text.utf8), file: "config.json")
    }
    let known = try model(["x_future_key": nil])
    #expect(known.unknownKeys == [] && known.notes == [])
    let found = try model(["num_experts": "8", "hidden_sise": "7", "rope_thetta": "null"])
    #expect(found.unknownKeys == ["x_future_key", "hidden_sise", "num_experts"])
    #expect(found.notes.count == 1)
    #expect(
      found.notes[0].hasPrefix(
        "config.json: x_future_key, hidden_sise, num_experts: without effect"))
    let float8 = #"""
      {"quant_method": "fp8", "weight_block_size": [128, 128], "kv_cache_scheme": {"x": 1}}
      """#
    #expect(
      try model(["x_future_key": nil, "quantization_config": float8]).unknownKeys
        == ["quantization_config.kv_cache_scheme"])
    let many = try model(
      Dictionary(uniqueKeysWithValues: (0..<11).map { ("y_\($0)\u{1B}", "1") }))
    #expect(many.notes[0].contains(" and 4 more") && !many.notes[0].contains("\u{1B}"))
  }
}
