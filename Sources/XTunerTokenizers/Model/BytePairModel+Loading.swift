extension BytePairModel {
  /// Reads the `model` key of `tokenizer.json`.
  static func read(
    _ node: ConfigurationNode, isByteLevel: Bool
  ) throws(TokenizerError) -> BytePairModel {
    let type = try node.member("type")?.string() ?? "BPE"
    guard type == "BPE" else {
      throw TokenizerError(
        .unsupported, file: node.file, key: "model.type",
        "is \(type); only BPE is implemented")
    }
    try node.allowOnly(keysOf: "model BPE")
    try refuseAffixesAndDropout(node)
    var options = Options()
    options.isByteLevel = isByteLevel
    options.ignoresMerges = try node.bool("ignore_merges", default: false)
    options.usesByteFallback = try node.bool("byte_fallback", default: false)
    options.fusesUnknown = try node.bool("fuse_unk", default: false)
    options.unknownToken = try node.member("unk_token")?.string()
    let vocabulary = try readVocabulary(node.required("vocab"))
    let merges = try readMerges(node.required("merges"), vocabulary)
    return try BytePairModel(
      vocabulary: vocabulary, merges: merges, options: options, holdsRawBytes: false,
      file: node.file)
  }

  private static func refuseAffixesAndDropout(_ node: ConfigurationNode) throws(TokenizerError) {
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      guard let affix = try node.member(name), try !affix.string().isEmpty else { continue }
      throw affix.error(.unsupported, "is \(affix.value.kind); only null or \"\" is implemented")
    }
    if let dropout = try node.member("dropout") {
      guard case .number(0) = dropout.value else {
        throw dropout.error(
          .unsupported, "is \(dropout.value.kind); only null or 0 is implemented")
      }
    }
  }

  private static func readVocabulary(
    _ node: ConfigurationNode
  ) throws(TokenizerError) -> Vocabulary {
    let members = try node.object()
    var vocabulary = Vocabulary(capacity: members.count)
    for (token, value) in members {
      guard case .number(let number) = value, number >= 0, number < 2_147_483_647,
        number == number.rounded()
      else {
        throw TokenizerError(
          .malformed, file: node.file, key: node.path(token),
          "must be an id, a whole number from 0, is \(value.kind)")
      }
      // A vocabulary with huge holes is damaged; it would make tables of that size.
      guard number < Double(members.count) * 8 + 1_000_000 else {
        throw TokenizerError(
          .inconsistent, file: node.file, key: node.path(token),
          "has id \(Int(number)), far above the \(members.count) tokens of the vocabulary")
      }
      let id = Int32(number)
      if vocabulary.contains(id: Int(id)), let other = vocabulary.bytes(of: id) {
        throw TokenizerError(
          .inconsistent, file: node.file, key: node.path(token),
          "has id \(id), which \"\(String(decoding: other, as: UTF8.self))\" has too")
      }
      var token = token
      guard token.withUTF8({ vocabulary.add($0, id: id) }) else {
        throw TokenizerError(
          .inconsistent, file: node.file, key: node.path(token), "stands in the vocabulary twice")
      }
    }
    return vocabulary
  }

  private static func readMerges(
    _ node: ConfigurationNode, _ vocabulary: Vocabulary
  ) throws(TokenizerError) -> MergeTable {
    guard case .array(let values) = node.value else {
      throw node.error(.malformed, "must be a list, is \(node.value.kind)")
    }
    let table = MergeTable(pairCount: values.count)
    for (rank, value) in values.enumerated() {
      let key = "\(node.key)[\(rank)]"
      guard let (left, right) = pair(value) else {
        throw TokenizerError(
          .malformed, file: node.file, key: key,
          "must be \"a b\" or [\"a\", \"b\"], is \(value.kind)")
      }
      func id(_ token: String) throws(TokenizerError) -> Int32 {
        guard let id = vocabulary.id(of: token) else {
          throw TokenizerError(
            .inconsistent, file: node.file, key: key,
            "\"\(left)\" + \"\(right)\" needs \"\(token)\", which is not in model.vocab; "
              + "vocabulary and merges are not of the same tokenizer")
        }
        return id
      }
      table.insert(
        try id(left), try id(right),
        MergeTable.Merge(rank: UInt32(rank), id: try id(left + right)))
    }
    return table
  }

  private static func pair(_ value: TokenizerJSON) -> (String, String)? {
    switch value {
    case .string(let text):
      let bytes = text.utf8
      guard let space = bytes.firstIndex(of: 0x20), space != bytes.startIndex else { return nil }
      let right = bytes.index(after: space)
      guard right != bytes.endIndex, !bytes[right...].contains(0x20) else { return nil }
      return (String(text[..<space]), String(text[right...]))
    case .array(let parts):
      guard parts.count == 2, case .string(let left) = parts[0], case .string(let right) = parts[1]
      else { return nil }
      return (left, right)
    case .null, .bool, .number, .object: return nil
    }
  }
}
