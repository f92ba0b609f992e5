internal import XTunerText

/// The tokens that the files beside `tokenizer.json` name: in lists, by a role such as `pad_token`,
/// or in `added_tokens.json`.
///
/// What is added, in which order and with which ids is what transformers 5.23 does, see
/// `named` of scripts/tokenizers_reference.py.
struct NamedTokens {
  /// The roles that every tokenizer of transformers has, in its order.
  static let roles = [
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
  ]

  /// A token as a file names it.
  struct Name {
    var token: AddedToken
    /// The id that a file gives it, if one does.
    var id: Int?
    /// Where it stands, for messages.
    var node: ConfigurationNode
  }

  /// `added_tokens_decoder`, or `added_tokens.json` where there is none, in order of id.
  private(set) var listed: [Name] = []
  private let hasDecoder: Bool
  /// Tokens with a role.
  private(set) var withRole: [Name] = []
  /// `extra_special_tokens`, or `additional_special_tokens` where there is none.
  private(set) var extra: [Name] = []

  /// Reads `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`; the last two
  /// count only where the first has no `added_tokens_decoder`.
  init(
    configuration: ConfigurationNode?, map: ConfigurationNode?, added: ConfigurationNode?
  ) throws(TokenizerError) {
    let decoder = try configuration?.member("added_tokens_decoder")
    hasDecoder = decoder != nil
    let map = hasDecoder ? nil : map
    try readRoles(configuration, map)
    try readExtra(configuration, map)
    if let decoder {
      listed = try Self.read(decoder: decoder)
    } else if let added {
      listed = try read(added: added)
    }
  }

  var all: [Name] { listed + withRole + extra }

  /// The contents that have a role, which makes a token special.
  private var contentsWithRole: Set<ExactText> { Set(withRole.map(\.token.content)) }

  // MARK: - Reading

  private mutating func readRoles(
    _ configuration: ConfigurationNode?, _ map: ConfigurationNode?
  ) throws(TokenizerError) {
    for role in Self.roles {
      var node = try configuration?.member(role)
      // The map counts also where it says null.
      if let map, try map.object().contains(where: { $0.key.isExactly(role) }) {
        node = try map.member(role)
      }
      if let node { withRole.append(try Self.name(node, isSpecial: true)) }
    }
    // Roles that a model has of its own, such as image_token; those that are objects come first.
    var plain: [Name] = []
    for file in [configuration, map].compactMap({ $0 }) {
      for (key, value) in try file.object()
      where key.hasSuffix("_token") && !Self.roles.containsExactly(key) {
        let node = ConfigurationNode(value, file: file.file, key: key)
        switch value {
        case .string: plain.append(try Self.name(node, isSpecial: true))
        case .object: withRole.append(try Self.name(node, isSpecial: true))
        case .null, .bool: continue
        case .number, .array:
          throw node.error(.malformed, "must be a token, is \(value.kind)")
        }
      }
    }
    withRole += plain
  }

  private mutating func readExtra(
    _ configuration: ConfigurationNode?, _ map: ConfigurationNode?
  ) throws(TokenizerError) {
    for key in ["extra_special_tokens", "model_specific_special_tokens"] {
      for file in [configuration, map].compactMap({ $0 }) {
        guard let node = try file.member(key) else { continue }
        if case .array = node.value, key == "extra_special_tokens" { continue }
        for (name, value) in try node.object() {
          let member = ConfigurationNode(value, file: node.file, key: node.path(name))
          withRole.append(try Self.name(member, isSpecial: true))
        }
      }
    }
    let files = [configuration, map]
    var lists: [ConfigurationNode] = []
    for file in files { lists += try Self.list("extra_special_tokens", in: file) ?? [] }
    if lists.isEmpty {
      // A list of the map replaces that of the configuration.
      for file in files {
        lists = try Self.list("additional_special_tokens", in: file) ?? lists
      }
    }
    for node in lists { extra.append(try Self.name(node, isSpecial: nil)) }
  }

  private static func list(
    _ key: String, in file: ConfigurationNode?
  ) throws(TokenizerError) -> [ConfigurationNode]? {
    guard let node = try file?.member(key) else { return nil }
    if case .object = node.value, key == "extra_special_tokens" { return nil }
    return try node.elements()
  }

  /// A token given as a text or as an object; `isSpecial` is for objects that do not say it.
  private static func name(
    _ node: ConfigurationNode, isSpecial: Bool?
  ) throws(TokenizerError) -> Name {
    if case .string(let text) = node.value {
      return Name(token: AddedToken(id: -1, content: text), node: node)
    }
    guard case .object = node.value else {
      throw node.error(.malformed, "must be a token, is \(node.value.kind)")
    }
    var token = try AddedToken(node, id: -1)
    if isSpecial == true { token.isSpecial = true }
    return Name(token: token, node: node)
  }

  private static func read(decoder: ConfigurationNode) throws(TokenizerError) -> [Name] {
    var names: [Name] = []
    for token in try TiktokenFile.addedTokens(decoder) {
      let node = ConfigurationNode(
        .null, file: decoder.file, key: decoder.path(String(token.id)))
      names.append(Name(token: token, id: Int(token.id), node: node))
    }
    return names
  }

  /// A token is special where another file gives it a role or lists it.
  private func read(added: ConfigurationNode) throws(TokenizerError) -> [Name] {
    let special = contentsWithRole.union(extra.map { ExactText($0.token.content) })
    var names: [Name] = []
    for (content, value) in try added.object() {
      let node = ConfigurationNode(value, file: added.file, key: added.path(content))
      var token = AddedToken(id: -1, content: content)
      token.isSpecial = special.contains(content)
      token.isNormalized = !token.isSpecial
      names.append(Name(token: token, id: try node.count(), node: node))
    }
    return names.sorted { $0.id ?? 0 < $1.id ?? 0 }
  }

  // MARK: - Adding

  /// Adds the tokens to those of `tokenizer.json`, which `vocabulary` belongs to.
  ///
  /// - Returns: What is other than by `tokenizer.json` and new tokens of `added_tokens_decoder`.
  /// - Throws: Where a file gives a token another id than it gets.
  func add(
    to added: inout [AddedToken], vocabulary: Vocabulary
  ) throws(TokenizerError) -> [AddedToken] {
    var places: [ExactText: Int] = [:]
    for (index, token) in added.enumerated() { places[token.content] = index }
    var largest = added.map { Int($0.id) }.max() ?? -1
    var changes: [AddedToken] = []
    let special = contentsWithRole
    // Those of tokenizer.json are added again, which makes those with a role special.
    for index in added.indices
    where !hasDecoder && !added[index].isSpecial && special.contains(added[index].content) {
      added[index].isSpecial = true
      changes.append(added[index])
    }
    for name in all {
      var token = name.token
      guard !token.content.isEmpty else { continue }
      if special.contains(token.content) { token.isSpecial = true }
      if let index = places[token.content] {
        guard name.id != nil else { continue }
        token.id = added[index].id
        try Self.checkID(name, is: token.id)
        // Special once is special for ever.
        token.isSpecial = token.isSpecial || added[index].isSpecial
        if added[index] != token { changes.append(token) }
        added[index] = token
        continue
      }
      let next = max(largest + 1, vocabulary.count)
      token.id = vocabulary.id(of: token.content) ?? Int32(clamping: next)
      try Self.checkID(name, is: token.id)
      largest = max(largest, Int(token.id))
      places[token.content] = added.count
      added.append(token)
      if !hasDecoder || name.id == nil { changes.append(token) }
    }
    return changes
  }

  private static func checkID(_ name: Name, is id: Int32) throws(TokenizerError) {
    guard let given = name.id, given != Int(id) else { return }
    throw name.node.error(
      .inconsistent,
      "\"\(name.token.content.prefix(60))\" has id \(given) here, and id \(id) by tokenizer.json, where "
        + "it belongs or would come next; the files are not of one tokenizer")
  }
}
