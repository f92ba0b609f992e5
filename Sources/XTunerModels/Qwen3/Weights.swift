import XTunerNN

extension Qwen3 {
  /// The tensors of a Qwen3 folder, in the order of the forward pass.
  static func mapWeights(_ configuration: ModelConfiguration, _ map: inout WeightMap) {
    map.whole("model.embed_tokens.weight", is: "embedding.weight")
    for (index, layer) in configuration.layers.enumerated() {
      let (file, own) = ("model.layers.\(index)", "layers.\(index)")
      map.whole("\(file).input_layernorm.weight", is: "\(own).attentionNorm.weight")
      mapAttention(layer.attention, "\(file).self_attn", "\(own).attention", &map)
      map.whole("\(file).post_attention_layernorm.weight", is: "\(own).feedForwardNorm.weight")
      switch layer.feedForward {
      case .dense:
        map.fused(
          ["\(file).mlp.gate_proj.weight", "\(file).mlp.up_proj.weight"],
          are: "\(own).feedForward.gateUp.weight")
        map.whole("\(file).mlp.down_proj.weight", is: "\(own).feedForward.down.weight")
      case .mixture:
        map.whole("\(file).mlp.gate.weight", is: "\(own).router.weight")
        let expert = { (index: Int) in "\(file).mlp.experts.\(index)" }
        map.perExpert([
          (
            "\(own).experts.gateUp.weight",
            { ["\(expert($0)).gate_proj.weight", "\(expert($0)).up_proj.weight"] }
          ),
          ("\(own).experts.down.weight", { ["\(expert($0)).down_proj.weight"] }),
        ])
      }
    }
    map.whole("model.norm.weight", is: "finalNorm.weight")
    if configuration.tiesEmbeddings {
      map.tiedHead("lm_head.weight")
    } else {
      map.whole("lm_head.weight", is: "head.weight")
    }
  }

  private static func mapAttention(
    _ attention: AttentionOptions, _ file: String, _ own: String, _ map: inout WeightMap
  ) {
    guard case .groupedQuery(let options) = attention else { return }
    for (name, part) in [("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")] {
      map.whole("\(file).\(name).weight", is: "\(own).\(part).weight")
      if options.hasInputBias { map.whole("\(file).\(name).bias", is: "\(own).\(part).bias") }
    }
    if options.normalizesQueryAndKey {
      map.whole("\(file).q_norm.weight", is: "\(own).queryNorm.weight")
      map.whole("\(file).k_norm.weight", is: "\(own).keyNorm.weight")
    }
    map.whole("\(file).o_proj.weight", is: "\(own).output.weight")
    if options.hasOutputBias { map.whole("\(file).o_proj.bias", is: "\(own).output.bias") }
  }
}
