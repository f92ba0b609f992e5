internal import XTunerText

/// Every key that the readers of tokenizer files accept: used, or ignored for a reason.
///
/// In `tokenizer.json` any other key is an error, in `tokenizer_config.json` a note: models bring
/// keys of their own there.
struct TokenizerKeys: Sendable {
  /// Where the keys stand: a file, or a part of `tokenizer.json` with its type.
  let place: String
  let used: [String]
  /// Keys without effect, each with the reason.
  var ignored: [(key: String, reason: String)] = []

  /// The keys of a place; a place of the table.
  static func of(_ place: String) -> TokenizerKeys {
    guard let keys = table.first(where: { $0.place == place }) else {
      preconditionFailure("no keys are listed for \(place)")
    }
    return keys
  }

  var all: [String] { used + ignored.map(\.key) }

  private static let offsets = "moves offsets only, which nothing asks for"
  private static let tokenFlags = ["special", "normalized", "single_word", "lstrip", "rstrip"]
  private static let length = "data.sequence_length and data.overlong set the length"
  private static let padding = "packs are not padded"
  private static let loading = "says how a Python class finds its files"
  private static let slow = "is for classes that do without tokenizer.json"

  static let table: [TokenizerKeys] = [
    TokenizerKeys(
      place: "tokenizer.json",
      used: [
        "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
        "decoder", "model",
      ], ignored: [("version", "there is only 1.0")]),
    TokenizerKeys(
      place: "added token", used: ["id", "content"] + tokenFlags,
      ignored: [("__type", "says that it is an added token")]),
    TokenizerKeys(
      place: "model BPE",
      used: [
        "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
        "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges",
      ]),
    TokenizerKeys(place: "normalizer NFC", used: ["type"]),
    TokenizerKeys(place: "normalizer NFD", used: ["type"]),
    TokenizerKeys(place: "normalizer NFKC", used: ["type"]),
    TokenizerKeys(place: "normalizer NFKD", used: ["type"]),
    TokenizerKeys(place: "normalizer Lowercase", used: ["type"]),
    TokenizerKeys(place: "normalizer Prepend", used: ["type", "prepend"]),
    TokenizerKeys(place: "normalizer Strip", used: ["type", "strip_left", "strip_right"]),
    TokenizerKeys(place: "normalizer Replace", used: ["type", "pattern", "content"]),
    TokenizerKeys(place: "normalizer Sequence", used: ["type", "normalizers"]),
    TokenizerKeys(place: "pattern", used: ["Regex", "String"]),
    TokenizerKeys(
      place: "pre_tokenizer Split", used: ["type", "pattern", "behavior", "invert"]),
    TokenizerKeys(place: "pre_tokenizer Digits", used: ["type", "individual_digits"]),
    TokenizerKeys(
      place: "pre_tokenizer ByteLevel", used: ["type", "add_prefix_space", "use_regex"],
      ignored: [("trim_offsets", offsets)]),
    TokenizerKeys(place: "pre_tokenizer Sequence", used: ["type", "pretokenizers"]),
    TokenizerKeys(
      place: "post_processor ByteLevel", used: ["type"],
      ignored: [
        ("add_prefix_space", offsets), ("trim_offsets", offsets), ("use_regex", offsets),
      ]),
    TokenizerKeys(
      place: "post_processor TemplateProcessing", used: ["type", "single", "special_tokens"],
      ignored: [("pair", "texts come one by one")]),
    TokenizerKeys(place: "post_processor Sequence", used: ["type", "processors"]),
    TokenizerKeys(
      place: "decoder ByteLevel", used: ["type"],
      ignored: [
        ("add_prefix_space", "concerns encoding"), ("trim_offsets", "concerns encoding"),
        ("use_regex", "concerns encoding"),
      ]),
    TokenizerKeys(place: "decoder ByteFallback", used: ["type"]),
    TokenizerKeys(place: "decoder Fuse", used: ["type"]),
    TokenizerKeys(place: "decoder Replace", used: ["type", "pattern", "content"]),
    TokenizerKeys(place: "decoder Strip", used: ["type", "content", "start", "stop"]),
    TokenizerKeys(place: "decoder Sequence", used: ["type", "decoders"]),
    TokenizerKeys(
      place: "tokenizer_config.json",
      used: [
        "tokenizer_class", "added_tokens_decoder", "extra_special_tokens",
        "additional_special_tokens", "model_specific_special_tokens", "split_special_tokens",
        "add_bos_token", "add_eos_token", "chat_template",
      ] + NamedTokens.roles,
      ignored: [
        ("model_max_length", length), ("max_length", length), ("max_len", length),
        ("stride", length), ("truncation", length), ("truncation_side", length),
        ("truncation_strategy", length), ("padding_side", padding), ("padding", padding),
        ("pad_to_multiple_of", padding), ("pad_token_type_id", padding),
        (
          "clean_up_tokenization_spaces",
          "spaces of the text stay; transformers keeps them too for byte-pair models"
        ),
        (
          "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
          "spaces of the text stay"
        ),
        ("spaces_between_special_tokens", slow), ("add_prefix_space", slow), ("errors", slow),
        ("do_lower_case", slow), ("strip_accents", slow), ("legacy", slow),
        ("sp_model_kwargs", slow), ("vocab_file", slow), ("merges_file", slow),
        ("use_default_system_prompt", "the chat template has its system text"),
        ("auto_map", loading), ("backend", loading), ("from_slow", loading),
        ("init_inputs", loading), ("is_local", loading), ("local_files_only", loading),
        ("files_loaded", loading), ("name_or_path", loading),
        ("special_tokens_map_file", loading), ("tokenizer_file", loading), ("use_fast", loading),
        ("processor_class", "is for pictures and sound"),
        ("model_input_names", "the engine knows what its models take"),
        ("return_token_type_ids", "the engine knows what its models take"),
        ("response_template", "is for parsing answers"),
        ("response_schema", "is for parsing answers"),
        ("chat_control_tokens", "is for cleaning chats of control tokens"),
      ]),
  ]
}

extension ConfigurationNode {
  /// Refuses keys that the table does not list for `place`, because they would be ignored.
  func allowOnly(keysOf place: String) throws(TokenizerError) {
    try allowOnly(TokenizerKeys.of(place).all)
  }

  /// The type of a part of `tokenizer.json`; keys that this type does not have are refused, types
  /// that the table does not have are left to the caller.
  func type(of part: String) throws(TokenizerError) -> String {
    let type = try required("type").string()
    if let keys = TokenizerKeys.table.first(where: { $0.place == "\(part) \(type)" }) {
      try allowOnly(keys.all)
    }
    return type
  }

  /// Keys that the table does not list for `place`; a role of the model's own, such as
  /// `image_token`, is known by its end.
  func unknownKeys(of place: String) throws(TokenizerError) -> [String] {
    let known = Set<ExactText>(TokenizerKeys.of(place).all)
    return try object().map(\.key).filter { !known.contains($0) && !$0.hasSuffix("_token") }
  }
}
