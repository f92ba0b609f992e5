internal import XTunerText

/// A vocabulary that was learnt, ready to be written as `tokenizer.json`.
public struct TrainedTokenizer: Sendable {
  /// Bytes of every learnt token, by id; the special tokens follow.
  public let tokens: [[UInt8]]
  /// Pairs of ids that merge, in order of rank.
  public let merges: [(left: Int32, right: Int32)]
  /// The split patterns.
  public let patterns: [String]
  /// The special tokens; the first has the id `tokens.count`.
  public let specialTokens: [String]
  /// The special token that ends a text.
  public let endToken: String?
  /// The special token that fills up rows.
  public let padToken: String?

  /// One more than the largest id.
  public var vocabularySize: Int {
    addedTokens.map { Int($0.id) + 1 }.max().map { max($0, tokens.count) } ?? tokens.count
  }

  /// The special tokens with their ids; one that was learnt as text too keeps that id.
  private var addedTokens: [AddedToken] {
    var next = Int32(tokens.count)
    let learnt = Dictionary(
      uniqueKeysWithValues: tokens.enumerated().map {
        (ExactText(ByteAlphabet.encode($0.element)), $0.offset)
      }
    )
    return specialTokens.map { content in
      if let id = learnt[content] { return AddedToken(id: Int32(id), content: content) }
      defer { next += 1 }
      return AddedToken(id: next, content: content)
    }
  }

  /// The `tokenizer.json` that Hugging Face `tokenizers` and this module read.
  public var tokenizerJSON: String {
    let spellings = tokens.map { ByteAlphabet.encode($0) }
    let added = addedTokens.map { token in
      "{\"id\":\(token.id),\"content\":\(TokenizerJSON.quote(token.content)),"
        + "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
        + "\"special\":true}"
    }
    let splits = patterns.map { pattern in
      "{\"type\":\"Split\",\"pattern\":{\"Regex\":\(TokenizerJSON.quote(pattern))},"
        + "\"behavior\":\"Isolated\",\"invert\":false}"
    }
    let byteLevel =
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,"
      + "\"use_regex\":false}"
    let vocabulary = spellings.enumerated().map {
      "\(TokenizerJSON.quote($0.element)):\($0.offset)"
    }
    let rules = merges.map { merge in
      TokenizerJSON.quote("\(spellings[Int(merge.left)]) \(spellings[Int(merge.right)])")
    }
    return """
      {"version":"1.0","truncation":null,"padding":null,
      "added_tokens":[\(added.joined(separator: ",\n"))],
      "normalizer":{"type":"NFC"},
      "pre_tokenizer":{"type":"Sequence","pretokenizers":[\((splits + [byteLevel]).joined(separator: ",\n"))]},
      "post_processor":\(byteLevel),
      "decoder":\(byteLevel),
      "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",\
      "end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
      "vocab":{\(vocabulary.joined(separator: ",\n"))},
      "merges":[\(rules.joined(separator: ",\n"))]}}

      """
  }

  /// The `tokenizer_config.json` that lets transformers load the folder.
  public var configurationJSON: String {
    var lines = [
      "\"tokenizer_class\": \"PreTrainedTokenizerFast\"", "\"clean_up_tokenization_spaces\": false",
      "\"bos_token\": null",
    ]
    for (name, token) in [("eos_token", endToken), ("pad_token", padToken)] {
      lines.append("\"\(name)\": \(token.map(TokenizerJSON.quote) ?? "null")")
    }
    return "{\n  " + lines.joined(separator: ",\n  ") + "\n}\n"
  }

  /// The tokenizer itself.
  public func makeTokenizer() throws(TokenizerError) -> Tokenizer {
    try Tokenizer(
      tokenizerJSON: Array(tokenizerJSON.utf8), configurationJSON: Array(configurationJSON.utf8),
      name: "trained tokenizer")
  }

  /// Writes both files into `folder`, which is made if needed.
  public func save(to folder: String) throws(TokenizerError) {
    try TokenizerFiles.write(Array(tokenizerJSON.utf8), to: "\(folder)/tokenizer.json")
    try TokenizerFiles.write(
      Array(configurationJSON.utf8), to: "\(folder)/\(TokenizerFiles.configurationName)")
  }
}
