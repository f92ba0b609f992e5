/// What a tokenizer file defines, read and checked.
struct TokenizerParts: Sendable {
  var normalizer: Normalizer?
  var preTokenizer = PreTokenizer()
  let model: BytePairModel
  var decoder: TokenDecoder
  var postProcessor = PostProcessor()
  var added: [AddedToken] = []
  /// Whether huge texts are cut as Kimi's own tokenizer does.
  var splitsLongText = false

  init(_ files: TokenizerFiles, family: TokenizerFamily?) throws(TokenizerError) {
    var configuration: ConfigurationNode?
    if let bytes = files.configuration {
      let path =
        files.configurationPath.isEmpty
        ? TokenizerFiles.configurationName : files.configurationPath
      configuration = ConfigurationNode(try TokenizerJSON.parse(bytes, file: path), file: path)
    }
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
  }

  // MARK: - tokenizer.json

  private init(
    json files: TokenizerFiles, _ configuration: ConfigurationNode?
  ) throws(TokenizerError) {
    let root = ConfigurationNode(
      try TokenizerJSON.parse(files.bytes, file: files.path), file: files.path)
    try root.allowOnly([
      "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
      "post_processor", "decoder", "model",
    ])
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
    if let configuration { try extend(from: configuration) }
  }

  /// Tokens and template that only `tokenizer_config.json` knows.
  private mutating func extend(from configuration: ConfigurationNode) throws(TokenizerError) {
    if let listed = try configuration.member("added_tokens_decoder") {
      for token in try TiktokenFile.addedTokens(listed)
      where !added.contains(where: { $0.content == token.content }) {
        added.append(token)
      }
    }
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
    if let token = added.first(where: { $0.content == content }) { return token.id }
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
  }

  // MARK: - Checks

  /// Added tokens must not take ids or contents away from each other or from the vocabulary.
  private func checkAddedTokens(file: String) throws(TokenizerError) {
    var contents: [Int32: String] = [:]
    for token in added {
      let key = "added_tokens \"\(token.content)\""
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
    if let twice = Dictionary(grouping: added, by: \.content).first(where: { $0.value.count > 1 }) {
      throw TokenizerError(
        .inconsistent, file: file, key: "added_tokens \"\(twice.key)\"", "is listed twice")
    }
  }
}
