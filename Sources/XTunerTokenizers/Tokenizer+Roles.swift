extension Tokenizer {
  /// The id of `bos_token` in `tokenizer_config.json`; nil where the file is absent or names none.
  ///
  /// - Throws: `TokenizerError` where what it names is no token.
  public func beginTokenID() throws(TokenizerError) -> Int32? { try id(ofRole: "bos_token") }

  /// The id of `eos_token` in `tokenizer_config.json`; nil where the file is absent or names none.
  ///
  /// - Throws: `TokenizerError` where what it names is no token.
  public func endTokenID() throws(TokenizerError) -> Int32? { try id(ofRole: "eos_token") }

  private func id(ofRole role: String) throws(TokenizerError) -> Int32? {
    guard let root = try files.node(TokenizerFiles.configurationName) else { return nil }
    guard let node = try root.member(role) else { return nil }
    let name: String
    if case .string(let text) = node.value {
      name = text
    } else {
      name = try node.required("content").string()
    }
    guard let id = id(of: name) else {
      throw node.error(.inconsistent, "\"\(name)\" is not a token of this tokenizer")
    }
    return id
  }
}
