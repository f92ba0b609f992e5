internal import XTunerText

/// What a tokenizer file defines, read and checked.
struct TokenizerParts: Sendable {
  var normalizer: Normalizer?
  var preTokenizer = PreTokenizer()
  let model: BytePairModel
  var decoder: TokenDecoder
  var postProcessor = PostProcessor()
  var added: [AddedToken] = []
  /// Those of `added` that files beside `tokenizer.json` add or change, except new ones of
  /// `added_tokens_decoder`.
  private(set) var namedTokens: [AddedToken] = []
  /// Whether huge texts are cut as Kimi's own tokenizer does.
  var splitsLongText = false
  /// What people should know about the files.
  private(set) var notes: [String] = []

  init(_ files: TokenizerFiles, family: TokenizerFamily?) throws(TokenizerError) {
    let configuration = try files.node(TokenizerFiles.configurationName)
    if files.isTiktoken {
      try self.init(tiktoken: files, configuration, family: family)
    } else {
      guard family == nil else {
        throw TokenizerError(
          .invalidArgument, file: files.path, "a family is for tiktoken files only")
      }
      try self.init(json: files, configuration)
    }
    try checkAddedTokens(file: files.path)
    if let configuration { try check(configuration) }
  }

  /// What `tokenizer_config.json` asks for beyond tokens.
  private mutating func check(_ configuration: ConfigurationNode) throws(TokenizerError) {
    if try configuration.bool("split_special_tokens", default: false) {
      throw try configuration.required("split_special_tokens").error(
        .unsupported, "is true; special tokens in a text are always found, set it to false")
    }
    let unknown = try configuration.unknownKeys(of: TokenizerFiles.configurationName)
    guard !unknown.isEmpty else { return }
    let names = unknown.prefix(8).map { String($0.prefix(40)) }.joined(separator: ", ")
    notes.append(
      "\(configuration.file): not known here and not used: \(names)"
        + (unknown.count > 8 ? " and \(unknown.count - 8) more" : ""))
  }

  // MARK: - tokenizer.json

  private init(
    json files: TokenizerFiles, _ configuration: ConfigurationNode?
  ) throws(TokenizerError) {
    let root = ConfigurationNode(
      try TokenizerJSON.parse(files.bytes, file: files.path), file: files.path)
    try root.allowOnly(keysOf: "tokenizer.json")
    for name in ["truncation", "padding"] {
      if let node = try root.member(name) {
        throw node.error(
          .unsupported, "is not implemented; set it to null, the data options set the length")
      }
    }
    if let node = try root.member("normalizer") { normalizer = try Normalizer.read(node) }
    if let node = try root.member("pre_tokenizer") { preTokenizer = try PreTokenizer(node) }
    model = try BytePairModel.read(
      root.required("model"), isByteLevel: preTokenizer.isByteLevel)
    if let node = try root.member("decoder") {
      decoder = try TokenDecoder.read(node)
    } else {
      decoder = .joinedWithSpaces
    }
    if let node = try root.member("post_processor") { postProcessor = try PostProcessor(node) }
    if let node = try root.member("added_tokens") {
      for element in try node.elements() {
        let token = try AddedToken(element)
        if !token.content.isEmpty { added.append(token) }
      }
    }
    let names = try NamedTokens(
      configuration: configuration, map: files.node(TokenizerFiles.mapName),
      added: files.node(TokenizerFiles.addedName))
    namedTokens = try names.add(to: &added, vocabulary: model.vocabulary)
    if let configuration { try extend(from: configuration) }
  }

  /// What only `tokenizer_config.json` says about special tokens around a text.
  private mutating func extend(from configuration: ConfigurationNode) throws(TokenizerError) {
    let name = try configuration.member("tokenizer_class")?.string() ?? ""
    guard ["LlamaTokenizerFast", "LlamaTokenizer"].contains(name) else { return }
    // This class adds bos and eos itself, whatever the template in tokenizer.json says.
    if try configuration.bool("add_bos_token", default: false) {
      let id = try specialID("bos_token", configuration)
      if postProcessor.before != [id] { postProcessor.putBefore(id) }
    }
    if try configuration.bool("add_eos_token", default: false) {
      let id = try specialID("eos_token", configuration)
      if postProcessor.after != [id] { postProcessor.putAfter(id) }
    }
  }

  private func specialID(
    _ name: String, _ configuration: ConfigurationNode
  ) throws(TokenizerError) -> Int32 {
    let node = try configuration.required(name)
    let content: String
    if case .string(let text) = node.value {
      content = text
    } else {
      content = try node.required("content").string()
    }
    if let token = added.first(where: { $0.content.isExactly(content) }) { return token.id }
    if let id = model.vocabulary.id(of: content) { return id }
    throw node.error(.inconsistent, "\"\(content)\" is not a token of this tokenizer")
  }

  // MARK: - tiktoken

  private init(
    tiktoken files: TokenizerFiles, _ configuration: ConfigurationNode?, family: TokenizerFamily?
  ) throws(TokenizerError) {
    let tokenizerClass = try configuration?.member("tokenizer_class")?.string()
    let recognized = TokenizerFamily.recognized(
      tokenizerClass: tokenizerClass, fileName: files.name)
    guard let family = family ?? recognized else {
      let known = TokenizerFamily.allCases.map(\.rawValue).joined(separator: ", ")
      throw TokenizerError(
        .unsupported, file: files.path,
        "the family of this tiktoken file is not known (tokenizer_class "
          + "\(tokenizerClass ?? "absent")); name one of \(known)")
    }
    let vocabulary = try TiktokenFile.vocabulary(files.bytes, file: files.path)
    var options = BytePairModel.Options()
    options.ignoresMerges = true
    model = try BytePairModel(
      vocabulary: vocabulary, merges: TiktokenFile.merges(of: vocabulary), options: options,
      holdsRawBytes: true, file: files.path)
    normalizer = family.composesText ? .composed : nil
    preTokenizer = try PreTokenizer(
      patterns: [family.pattern], file: files.path, key: family.rawValue)
    decoder = .rawBytes
    splitsLongText = family == .kimiK2
    added = try TiktokenFile.addedTokens(
      configuration, family: family, rankCount: vocabulary.idLimit, file: files.path)
    // The tiktoken library looks for special tokens in the text as given.
    for index in added.indices { added[index].isNormalized = false }
    let known = Set<ExactText>(added.map(\.content))
    let names = try NamedTokens(configuration: configuration, map: nil, added: nil)
    for name in names.all where !known.contains(name.token.content) {
      throw name.node.error(
        .inconsistent, "\"\(name.token.content.prefix(60))\" is not a token of \(files.path)")
    }
  }

  // MARK: - Checks

  /// Added tokens must not take ids or contents away from each other or from the vocabulary.
  private func checkAddedTokens(file: String) throws(TokenizerError) {
    var contents: [Int32: String] = [:]
    // An id far above the vocabulary is damage; tables and the model's rows would have that size.
    let limit = model.vocabulary.idLimit + added.count * 8 + 1_000_000
    for token in added {
      let key = "added_tokens \"\(token.content.prefix(60))\""
      guard token.id < limit else {
        throw TokenizerError(
          .inconsistent, file: file, key: key,
          "has id \(token.id), far above the \(model.vocabulary.count) tokens of the vocabulary")
      }
      if let other = contents[token.id] {
        throw TokenizerError(
          .inconsistent, file: file, key: key, "has id \(token.id), which \"\(other)\" has too")
      }
      contents[token.id] = token.content
      if model.holdsRawBytes {
        guard !model.vocabulary.contains(id: Int(token.id)) else {
          throw TokenizerError(
            .inconsistent, file: file, key: key, "has id \(token.id), which is a rank of the file")
        }
        continue
      }
      if let id = model.vocabulary.id(of: token.content) {
        guard id == token.id else {
          throw TokenizerError(
            .inconsistent, file: file, key: key,
            "has id \(token.id), but id \(id) in model.vocab")
        }
      } else if let bytes = model.vocabulary.bytes(of: token.id) {
        throw TokenizerError(
          .inconsistent, file: file, key: key,
          "has id \(token.id), which \"\(String(decoding: bytes, as: UTF8.self))\" has in model.vocab"
        )
      }
    }
    var seen: Set<ExactText> = []
    for token in added where !seen.insert(token.content).inserted {
      throw TokenizerError(
        .inconsistent, file: file, key: "added_tokens \"\(token.content)\"", "is listed twice")
    }
  }
}
