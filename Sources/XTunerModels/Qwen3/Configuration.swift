import XTunerMoE
import XTunerNN

/// Qwen3 (arXiv 2505.09388), dense and mixture of experts: what `config.json` says and what it cannot.
extension ModelFamily {
  /// Qwen3 with dense feed-forward layers.
  public static let qwen3 = ModelFamily(
    modelType: "qwen3", architecture: "Qwen3ForCausalLM",
    usedKeys: ConfigurationKeys.common.union(["max_window_layers"]),
    ignoredKeys: ConfigurationKeys.ignored,
    read: { Qwen3.read(isMixture: false, from: &$0) }, check: Qwen3.check, write: Qwen3.write,
    makeModel: Qwen3.makeModel, mapWeights: Qwen3.mapWeights,
    unquantizedModules: Qwen3.unquantizedModules)

  /// Qwen3 with mixture-of-experts layers.
  public static let qwen3MoE = ModelFamily(
    modelType: "qwen3_moe", architecture: "Qwen3MoeForCausalLM",
    usedKeys: ConfigurationKeys.common.union([
      "num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
      "norm_topk_prob", "decoder_sparse_step", "mlp_only_layers", "router_aux_loss_coef",
    ]),
    ignoredKeys: ConfigurationKeys.ignored.merging(
      ["max_window_layers": "a mixture slides in all layers or in none"]) { $1 },
    read: { Qwen3.read(isMixture: true, from: &$0) }, check: Qwen3.check, write: Qwen3.write,
    makeModel: Qwen3.makeModel, mapWeights: Qwen3.mapWeights,
    unquantizedModules: Qwen3.unquantizedModules)
}

/// What the two Qwen3 families share.
enum Qwen3 {
  static func read(
    isMixture: Bool, from reader: inout ConfigurationReader
  ) -> ModelConfiguration {
    let family = isMixture ? ModelFamily.qwen3MoE : .qwen3
    refuseUnsupportedSettings(in: &reader)
    let hiddenSize = reader.integer("hidden_size")
    let layerCount = ModelConfiguration.readLayerCount(from: &reader)
    let headSize = reader.integer("head_dim")
    let maximumPositionCount = reader.integer("max_position_embeddings")
    let hasBias = reader.boolean("attention_bias", default: false)
    var attention = GroupedQueryAttention.Options(
      headCount: reader.integer("num_attention_heads"),
      keyValueHeadCount: reader.integer("num_key_value_heads"), headSize: headSize,
      normalizesQueryAndKey: true, hasInputBias: hasBias, hasOutputBias: hasBias)
    let windows = readSlidingWindows(family: family, layerCount: layerCount, from: &reader)
    let intermediateSize =
      family == .qwen3
      ? reader.integer("intermediate_size")
      : reader.integer("intermediate_size", default: 0)
    let feedForwards = readFeedForwards(
      family: family, layerCount: layerCount, intermediateSize: intermediateSize, from: &reader)
    let layers = zip(windows, feedForwards).map { window, feedForward in
      attention.window = window
      return DecoderLayerOptions(
        attention: .groupedQuery(attention), feedForward: feedForward)
    }
    var configuration = ModelConfiguration(
      family: family, vocabularySize: reader.integer("vocab_size"), hiddenSize: hiddenSize,
      intermediateSize: intermediateSize, layers: layers,
      rotary: RotaryConfiguration(
        reading: &reader, rotatedSize: headSize, maximumPositionCount: maximumPositionCount),
      normEpsilon: reader.real("rms_norm_eps"),
      // False is the class default of both transformers 4 and 5 for this family.
      tiesEmbeddings: reader.boolean("tie_word_embeddings", default: false),
      maximumPositionCount: maximumPositionCount,
      initializerRange: reader.real("initializer_range", default: 0.02),
      beginTokenID: reader.optionalInteger("bos_token_id"),
      endTokenIDs: ModelConfiguration.readEndTokens(from: &reader),
      paddingTokenID: reader.optionalInteger("pad_token_id"),
      weightType: ModelConfiguration.readWeightType(from: &reader),
      balanceLossCoefficient: family == .qwen3MoE
        ? reader.real("router_aux_loss_coef", default: 0.001) : 0)
    configuration.hasFloat8Blocks = ModelConfiguration.readFloat8Blocks(from: &reader)
    return configuration
  }

  private static func refuseUnsupportedSettings(in reader: inout ConfigurationReader) {
    let activation = reader.string("hidden_act", default: "silu")
    if activation != "silu" && !activation.isEmpty {
      reader.reject("hidden_act", "must be silu, the activation of this family, is \(activation)")
    }
    let dropout = reader.real("attention_dropout", default: 0)
    if dropout != 0 && !reader.rejectedKeys.contains("attention_dropout") {
      reader.reject("attention_dropout", "must be 0, is \(dropout); dropout is not supported")
    }
  }

  private static func readFeedForwards(
    family: ModelFamily, layerCount: Int, intermediateSize: Int,
    from reader: inout ConfigurationReader
  ) -> [FeedForwardOptions] {
    let dense = FeedForwardOptions.dense(intermediateSize: intermediateSize)
    guard family == .qwen3MoE else { return Array(repeating: dense, count: layerCount) }
    let mixture = FeedForwardOptions.mixture(
      MixtureOfExperts.Options(
        router: Router.Options(
          scoring: .softmax, expertCount: reader.integer("num_experts", "num_local_experts"),
          expertsPerToken: reader.integer("num_experts_per_tok"),
          normalizesWeights: reader.boolean("norm_topk_prob")),
        expertSize: reader.integer("moe_intermediate_size")))
    let denseLayers = reader.optionalIntegers("mlp_only_layers") ?? []
    for layer in denseLayers where !(0..<layerCount).contains(layer) {
      reader.reject(
        "mlp_only_layers", "must list layers from 0 to \(layerCount - 1), has \(layer)")
    }
    var step = reader.integer("decoder_sparse_step", default: 1)
    if step < 1 {
      reader.reject("decoder_sparse_step", "must be at least 1, is \(step)")
      step = 1
    }
    return (0..<layerCount).map { layer in
      !denseLayers.contains(layer) && (layer + 1).isMultiple(of: step) ? mixture : dense
    }
  }
}
