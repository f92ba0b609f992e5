extension RunConfiguration {
  /// A section with its type erased: what the reader, the writer and the schema walk over.
  struct AnySection: Sendable {
    let name: String
    let summary: String
    let options: [OptionDescription]
    let jsonSchema: ConfigurationValue
    let decode:
      @Sendable (ConfigurationNode, inout RunConfiguration, inout ConfigurationProblems) -> Void
    let encode: @Sendable (RunConfiguration) -> [ConfigurationValue.Entry]

    var keys: [String] { options.map(\.key) }

    init<Section: ConfigurationSection>(
      _ name: String, _ path: any WritableKeyPath<RunConfiguration, Section> & Sendable
    ) {
      self.name = name
      summary = Section.summary
      options = OptionDescription.all(of: Section.self)
      jsonSchema = Section.jsonSchema
      decode = { node, configuration, problems in
        configuration[keyPath: path] = Section.decoded(from: node, at: name, &problems)
      }
      encode = { configuration in
        Section.fields.map { .init($0.key, $0.encode(configuration[keyPath: path])) }
      }
    }
  }

  /// Every section in the order of the documentation.
  static let sections: [AnySection] = [
    .init("run", \.run),
    .init("model", \.model),
    .init("tokenizer", \.tokenizer),
    .init("data", \.data),
    .init("training", \.training),
    .init("parallel", \.parallel),
    .init("optimizer", \.optimizer),
    .init("schedule", \.schedule),
    .init("loss", \.loss),
    .init("evaluation", \.evaluation),
    .init("checkpoint", \.checkpoint),
    .init("export", \.export),
    .init("logging", \.logging),
  ]
}

/// What a person is told about one option.
struct OptionDescription: Sendable {
  let key: String
  let meaning: String
  let typeName: String
  /// A sentence with the largest number that is taken, and why; nil for what is no number.
  let bound: String?
  /// The default as it would be written, or what it is computed from.
  let defaultText: String

  static func all<Section: ConfigurationSection>(of type: Section.Type) -> [OptionDescription] {
    let defaults = Section()
    return Section.fields.map { field in
      let value = field.encode(defaults)
      let isMissing = value == .text("")
      return .init(
        key: field.key, meaning: field.meaning, typeName: field.typeName,
        bound: field.bound,
        defaultText: field.computedDefault ?? (isMissing ? "none, must be given" : value.flow))
    }
  }
}
