import XTunerInput
import XTunerText
/// One option of a section: the only place that knows its key, type, constraint and meaning.
///
/// Decoding, error messages, `config show`, the JSON schema and the reference page are all made
/// from these.
struct ConfigurationField<Section: Sendable>: Sendable {
  let key: String
  /// What the option does, in full sentences, with its unit.
  let meaning: String
  let typeName: String
  let schema: [ConfigurationValue.Entry]
  /// A sentence with the largest number that is taken, and why; nil for what is no number.
  let bound: String?
  /// What a `null` default turns into, where the resolved value depends on other options.
  let computedDefault: String?
  let decode:
    @Sendable (ConfigurationNode, String, inout Section, inout ConfigurationProblems) -> Void
  let encode: @Sendable (Section) -> ConfigurationValue

  init<Value: Sendable>(
    _ key: String, _ path: any WritableKeyPath<Section, Value> & Sendable, _ type: ValueType<Value>,
    computedDefault: String? = nil, _ meaning: String
  ) {
    self.key = key
    self.meaning = meaning
    self.typeName = type.name
    self.schema = type.schema
    self.bound = type.bound
    self.computedDefault = computedDefault
    self.decode = { node, keyPath, section, problems in
      do throws(Rejection) {
        section[keyPath: path] = try type.decode(node)
      } catch {
        problems.reject(keyPath, at: node.origin, error.reason)
      }
    }
    self.encode = { type.encode($0[keyPath: path]) }
  }

  /// An option that holds a list of sections, such as the sources of data.
  init<Item: ConfigurationSection>(
    _ key: String, _ path: any WritableKeyPath<Section, [Item]> & Sendable, listOf name: String,
    shorthand: @escaping @Sendable (String) -> Item, _ meaning: String
  ) {
    self.key = key
    self.meaning = meaning
    self.typeName = "list of \(name)"
    let item: ConfigurationValue = .mapping([
      .init("anyOf", .list([.mapping([.init("type", .text("string"))]), Item.jsonSchema]))
    ])
    self.schema = [
      .init(
        "anyOf",
        .list([
          .mapping([.init("type", .text("string"))]),
          .mapping([.init("type", .text("array")), .init("items", item)]),
        ]))
    ]
    self.bound = nil
    self.computedDefault = nil
    self.decode = { node, keyPath, section, problems in
      section[keyPath: path] = Self.items(
        node, keyPath, name: name, shorthand: shorthand, &problems)
    }
    self.encode = { .list($0[keyPath: path].map { $0.encoded() }) }
  }

  private static func items<Item: ConfigurationSection>(
    _ node: ConfigurationNode, _ keyPath: String, name: String,
    shorthand: (String) -> Item, _ problems: inout ConfigurationProblems
  ) -> [Item] {
    let nodes: [ConfigurationNode]
    if case .list(let list) = node.content {
      nodes = list
    } else {
      nodes = node.isNull ? [] : [node]
    }
    return nodes.enumerated().map { index, item in
      let itemPath = "\(keyPath)[\(index)]"
      problems.note(itemPath, givenAt: item.origin)
      switch item.content {
      case .scalar(let text, _) where !item.isNull && !text.isEmpty:
        return shorthand(text)
      case .mapping:
        return Item.decoded(from: item, at: itemPath, &problems)
      case .scalar, .list:
        problems.reject(
          itemPath, at: item.origin, "must be a path or a mapping of \(name), is \(item.summary)")
        return Item()
      }
    }
  }
}

/// A group of options: a top-level key of the configuration, or an item of a list.
protocol ConfigurationSection: Sendable, Equatable {
  /// What the options are about, in one sentence.
  static var summary: String { get }
  /// Every option in the order of the documentation.
  static var fields: [ConfigurationField<Self>] { get }
  /// Creates the section with its defaults.
  init()
}

extension ConfigurationSection {
  /// Reads the section, reporting unknown keys and unusable values.
  static func decoded(
    from node: ConfigurationNode, at keyPath: String, _ problems: inout ConfigurationProblems
  ) -> Self {
    var section = Self()
    guard !node.isNull else { return section }
    guard case .mapping(let entries) = node.content else {
      problems.reject(
        keyPath, at: node.origin, "must be a section with keys, is \(node.summary)")
      return section
    }
    let keys = fields.map(\.key)
    for entry in entries {
      let path = "\(keyPath).\(entry.key)"
      guard let field = fields.first(where: { $0.key.isExactly(entry.key) }) else {
        problems.rejectUnknownKey(
          path, section: keyPath, at: entry.origin,
          "unknown key; \(UnknownKey.hint(for: entry.key, known: keys, section: keyPath))")
        continue
      }
      problems.note(path, givenAt: entry.origin)
      if case .mapping(let members) = entry.value.content {
        // Keys of a free mapping have their own lines.
        for member in members { problems.note("\(path).\(member.key)", givenAt: member.origin) }
      }
      field.decode(entry.value, path, &section, &problems)
    }
    return section
  }

  /// The section as an ordered mapping of every option.
  func encoded() -> ConfigurationValue {
    .mapping(Self.fields.map { .init($0.key, $0.encode(self)) })
  }

  /// The JSON schema of the section.
  static var jsonSchema: ConfigurationValue {
    let defaults = Self()
    let properties = fields.map { field -> ConfigurationValue.Entry in
      let described: [ConfigurationValue.Entry] = [
        .init("description", .text(field.meaning)), .init("default", field.encode(defaults)),
      ]
      return .init(field.key, .mapping(described + field.schema))
    }
    return .mapping([
      .init("type", .text("object")),
      .init("description", .text(summary)),
      .init("additionalProperties", .boolean(false)),
      .init("properties", .mapping(properties)),
    ])
  }
}

/// What to say about a key that no option has.
enum UnknownKey {
  /// A suggestion when one key is close, also from another section, and all known keys otherwise.
  static func hint(for key: String, known: [String], section: String) -> String {
    if let meant = Spelling.suggestion(for: key, among: known) {
      return "did you mean \(meant)?"
    }
    let elsewhere = RunConfiguration.sections
      .filter { $0.name != section && $0.keys.contains(key) }
      .map { "\($0.name).\(key)" }
    if !elsewhere.isEmpty {
      return "did you mean \(elsewhere.joined(separator: " or "))?"
    }
    return "known here: \(known.joined(separator: ", "))"
  }
}
