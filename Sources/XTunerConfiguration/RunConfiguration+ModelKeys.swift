extension RunConfiguration {
  /// The keys of a `config.json` that any family of models knows; sorted.
  ///
  /// The families' own tables are in XTunerModels, which needs libtorch; a test compares both.
  package static let modelKeys = [
    "_name_or_path", "architectures", "attention_bias", "attention_dropout", "bos_token_id",
    "decoder_sparse_step", "dtype", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
    "initializer_range", "intermediate_size", "layer_types", "max_position_embeddings",
    "max_window_layers", "mlp_only_layers", "model_type", "moe_intermediate_size", "norm_topk_prob",
    "num_attention_heads", "num_experts", "num_experts_per_tok", "num_hidden_layers",
    "num_key_value_heads", "num_local_experts", "original_max_position_embeddings",
    "output_router_logits", "pad_token_id", "partial_rotary_factor", "quantization_config",
    "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "router_aux_loss_coef",
    "sliding_window", "tie_word_embeddings", "torch_dtype", "transformers_version", "use_cache",
    "use_sliding_window", "vocab_size",
  ]

  /// Refuses keys of `model.architecture` and `model.overrides` that no family knows: written by hand,
  /// they are misspelt.
  func checkModelKeys(_ problems: inout ConfigurationProblems) {
    let known = Self.modelKeys
    for (name, value) in [("architecture", model.architecture), ("overrides", model.overrides)] {
      guard case .mapping(let entries) = value else { continue }
      for entry in entries where !known.contains(entry.key) {
        let path = "model.\(name).\(entry.key)"
        let hint = UnknownKey.hint(for: entry.key, known: known, section: "model.\(name)")
        problems.reject(path, "is no key of config.json that has an effect here; \(hint)")
      }
    }
  }
}
