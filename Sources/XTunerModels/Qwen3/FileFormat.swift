import XTunerMoE
import XTunerNN

/// What a Qwen3 `config.json` can say, and how it says it.
extension Qwen3 {
  /// What a family's file format cannot say must not be in a configuration of that family.
  static func check(_ model: ModelConfiguration, _ checks: inout ContradictionList) {
    let (family, layers) = (model.family, model.layers)
    if family == .qwen3 {
      checks.expect(
        layers.allSatisfy { $0.feedForward.mixture == nil }, ["model_type"],
        "qwen3 has dense layers only; use qwen3_moe for a model with experts")
    } else {
      checks.expect(
        layers.contains { $0.feedForward.mixture != nil }, ["model_type", "mlp_only_layers"],
        "qwen3_moe has no layer with experts (see mlp_only_layers and decoder_sparse_step); use "
          + "qwen3 for a dense model")
    }
    let shapes = Set(layers.map { $0.attention.withoutWindow })
    let mixtures = Set(layers.compactMap(\.feedForward.mixture))
    checks.expect(
      shapes.count <= 1 && mixtures.count <= 1, ["model_type"],
      "\(family.modelType) cannot describe layers whose sizes differ")
    let windows = Set(layers.compactMap(\.attention.window))
    checks.expect(
      windows.count <= 1, ["sliding_window"],
      "\(family.modelType) has one window for all sliding layers, found \(windows.sorted())")
    if family == .qwen3MoE && !windows.isEmpty {
      checks.expect(
        layers.allSatisfy { $0.attention.window != nil }, ["layer_types"],
        "qwen3_moe slides in all layers or in none")
    }
    checks.expect(
      shapes.allSatisfy(Self.isQwen3) && mixtures.allSatisfy(Self.isQwen3), ["model_type"],
      "\(family.modelType) has grouped-query attention with query and key norms, no sinks, and "
        + "softmax routers without groups, biases, scaling or shared experts")
    let denseSizes = Set(
      layers.compactMap { layer -> Int? in
        if case .dense(let size) = layer.feedForward { size } else { nil }
      })
    checks.expect(
      denseSizes.isSubset(of: [model.intermediateSize]), ["intermediate_size"],
      "is \(model.intermediateSize), but dense layers have \(denseSizes.sorted())")
  }

  private static func isQwen3(_ attention: AttentionOptions) -> Bool {
    guard case .groupedQuery(let attention) = attention else { return false }
    return attention.normalizesQueryAndKey && !attention.hasSinks
      && attention.hasInputBias == attention.hasOutputBias
  }

  private static func isQwen3(_ mixture: MixtureOfExperts.Options) -> Bool {
    let router = mixture.router
    return mixture.sharedExpertSize == 0 && router.scoring == .softmax
      && router.scalingFactor == 1 && router.groupCount == 1 && !router.hasSelectionBias
      && !router.hasBias
  }

  /// The keys of attention and of experts.
  static func write(_ model: ModelConfiguration, to object: inout JSONObject) {
    writeAttention(model, to: &object)
    if model.family == .qwen3MoE { writeMixture(model, to: &object) }
  }

  /// The head and the routers.
  static func unquantizedModules(_ model: ModelConfiguration) -> [String] {
    ["lm_head"]
      + model.layers.indices.filter { model.layers[$0].feedForward.mixture != nil }
      .map { "model.layers.\($0).mlp.gate" }
  }

  private static func writeAttention(_ model: ModelConfiguration, to object: inout JSONObject) {
    let (family, layers) = (model.family, model.layers)
    guard case .groupedQuery(let attention) = layers[0].attention else { return }
    object["num_attention_heads"] = .integer(attention.headCount)
    object["num_key_value_heads"] = .integer(attention.keyValueHeadCount)
    object["head_dim"] = .integer(attention.headSize)
    object["attention_bias"] = .boolean(attention.hasInputBias)
    object["attention_dropout"] = .real(0)

    let windows = layers.map(\.attention.window)
    let window = windows.lazy.compactMap { $0 }.first
    object["use_sliding_window"] = .boolean(window != nil)
    object["sliding_window"] = window.map { .integer($0) } ?? .null
    guard family == .qwen3 else { return }
    // With `layer_types` this key decides nothing; without, only that the tail of layers slides.
    if window != nil || object["max_window_layers"] == nil {
      object["max_window_layers"] = .integer(windows.firstIndex { $0 != nil } ?? layers.count)
    }
    object["layer_types"] =
      window == nil && object["layer_types"] == nil
      ? nil : .array(windows.map { .string($0 == nil ? fullType : slidingType) })
  }

  private static func writeMixture(_ model: ModelConfiguration, to object: inout JSONObject) {
    let layers = model.layers
    guard let mixture = layers.lazy.compactMap(\.feedForward.mixture).first else { return }
    object["num_experts"] = .integer(mixture.router.expertCount)
    object["num_experts_per_tok"] = .integer(mixture.router.expertsPerToken)
    object["moe_intermediate_size"] = .integer(mixture.expertSize)
    object["norm_topk_prob"] = .boolean(mixture.router.normalizesWeights)
    object["decoder_sparse_step"] = .integer(1)
    object["mlp_only_layers"] = .array(
      layers.indices.filter { layers[$0].feedForward.mixture == nil }.map { .integer($0) })
    object["router_aux_loss_coef"] = .real(model.balanceLossCoefficient)
    if object["output_router_logits"] == nil { object["output_router_logits"] = .boolean(false) }
  }
}

extension AttentionOptions {
  /// The same attention without its window, to compare layers.
  fileprivate var withoutWindow: AttentionOptions {
    guard case .groupedQuery(var attention) = self else { return self }
    attention.window = nil
    return .groupedQuery(attention)
  }
}
