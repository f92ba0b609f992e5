import XTunerText

/// The keys of a `config.json`, and what becomes of each: a key is used, or it is ignored for a reason
/// that stands here, or it is unknown and people are told.
enum ConfigurationKeys {
  /// Keys that decide something in every family, or are refused where they cannot be honoured.
  static let common: Set<String> = [  // own names
    "architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "attention_bias", "attention_dropout", "hidden_act", "rms_norm_eps", "initializer_range",
    "max_position_embeddings", "tie_word_embeddings", "torch_dtype", "dtype", "bos_token_id",
    "eos_token_id", "pad_token_id", "rope_theta", "rope_scaling", "rope_parameters",
    "partial_rotary_factor", "original_max_position_embeddings", "use_sliding_window",
    "sliding_window", "layer_types", "quantization_config",
  ]

  /// Keys that are read by nobody here, each with the reason.
  static let ignored: [String: String] = [  // own names
    "transformers_version": "names the program that wrote the file",
    "_name_or_path": "names the folder that the file was written from",
    "use_cache": "generation always keeps keys and values, training never",
    "output_router_logits": "router losses follow loss.balance_loss and loss.router_z_loss",
  ]

  /// Keys inside of `quantization_config`; the tensors' types say which modules are converted.
  static let quantization: Set<ExactText> = [
    "quant_method", "weight_block_size", "fmt", "activation_scheme", "modules_to_not_convert",
  ]

  /// Spellings of one key, of which setting one replaces the others.
  static let spellings: [Set<String>] = [  // own names
    ["num_experts", "num_local_experts"], ["torch_dtype", "dtype"],
    ["rope_scaling", "rope_parameters"],
  ]
}

extension ModelConfiguration {
  /// The other spellings of a key of `config.json`, of which one at a time may be there.
  public static func spellings(of key: String) -> Set<String> {  // own names
    (ConfigurationKeys.spellings.first { $0.contains(key) } ?? []).subtracting([key])
  }

  /// Every key of a `config.json` that any family knows, used or ignored for a reason; sorted.
  public static var knownKeys: [String] {
    Set(ModelFamily.allCases.flatMap(knownKeys(of:))).sorted()
  }

  /// Every key of a `config.json` that a family knows, used or ignored for a reason; sorted.
  public static func knownKeys(of family: ModelFamily) -> [String] {
    family.usedKeys.union(family.ignoredKeys.keys).sorted()
  }

  /// Keys of `source` that this model's family does not know, in the file's order; null counts as
  /// absent.
  ///
  /// They have no effect, and an export carries them along.
  public var unknownKeys: [String] {
    guard let source else { return [] }
    let known = Set<ExactText>(Self.knownKeys(of: family))
    let nested = source["quantization_config"]?.object
    return source.keys.filter { !known.contains($0) && source[$0]?.isNull == false }
      + (nested?.keys ?? []).filter { !ConfigurationKeys.quantization.contains($0) }
      .map { "quantization_config.\($0)" }
  }

  /// What people should know about how `config.json` was understood, a sentence each.
  public var notes: [String] {
    var notes: [String] = []
    let unknown = unknownKeys
    if !unknown.isEmpty {
      let rest = unknown.count > 8 ? " and \(unknown.count - 8) more" : ""
      let names = unknown.prefix(8).map(Self.printable).joined(separator: ", ")
      notes.append(
        "config.json: \(names)\(rest): without effect, since model_type \(family.modelType) is not "
          + "known to have such keys; an export keeps them")
    }
    if source?["tie_word_embeddings"]?.boolean == true && !tiesEmbeddings {
      notes.append(
        "config.json ties the head to the embedding, but lm_head.weight and "
          + "model.embed_tokens.weight differ: they are two matrices here, as in transformers, and an "
          + "export says tie_word_embeddings: false")
    }
    return notes
  }

  /// A key of a file as part of a line for people.
  private static func printable(_ key: String) -> String {
    let isPlain = key.utf8.allSatisfy { (0x21...0x7E) ~= $0 }
    let text = isPlain ? key : JSONDocument.string(key).compactText()
    return text.utf8.count <= 60 ? text : "\(text.prefix(57))..."
  }
}
