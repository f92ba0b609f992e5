/// Reads typed values from a JSON object and collects what is wrong instead of stopping at it.
///
/// A rejected value is replaced by a placeholder so that reading can go on; `rejectedKeys` tells
/// later checks which values are not the file's.
struct ConfigurationReader {
  private(set) var object: JSONObject
  private(set) var problems: [ModelConfigurationError.Problem] = []
  private(set) var rejectedKeys: Set<String> = []  // own names
  /// Every key that was asked for, there or not; not those of nested objects.
  private(set) var readKeys: Set<String> = []  // own names
  /// Prepended to keys in messages, such as `rope_scaling.`.
  private let prefix: String

  init(_ object: JSONObject, prefix: String = "") {
    self.object = object
    self.prefix = prefix
  }

  mutating func reject(_ key: String, _ reason: String) {
    rejectedKeys.insert(prefix + key)
    problems.append(.init(key: prefix + key, reason: reason))
  }

  /// Whether the value under a key, without the prefix, has been refused.
  func hasRejected(_ key: String) -> Bool { rejectedKeys.contains(prefix + key) }

  /// Takes over what a reader of a nested object found.
  mutating func absorb(_ reader: ConfigurationReader) {
    problems += reader.problems
    rejectedKeys.formUnion(reader.rejectedKeys)
  }

  /// The value under the first of several spellings of one key; `null` counts as absent.
  ///
  /// Two spellings with different values are a problem.
  mutating func value(_ spellings: [String]) -> JSONDocument? {
    var found: (key: String, value: JSONDocument)?
    readKeys.formUnion(spellings)
    for key in spellings {
      guard let value = object[key], !value.isNull else { continue }
      if let found, found.value != value {
        reject(
          key,
          "is \(value.compactText()), but \(found.key), another spelling of it, is "
            + "\(found.value.compactText()); they must agree or one be absent")
      }
      found = found ?? (key, value)
    }
    return found?.value
  }

  mutating func optionalInteger(_ spellings: String...) -> Int? {
    convert(spellings, expected: "a whole number") { $0.integer }
  }

  mutating func integer(_ spellings: String..., default fallback: Int? = nil) -> Int {
    require(spellings, default: fallback, placeholder: 1, expected: "a whole number") { $0.integer }
  }

  mutating func optionalReal(_ spellings: String...) -> Double? {
    convert(spellings, expected: "a number") { $0.real }
  }

  mutating func real(_ spellings: String..., default fallback: Double? = nil) -> Double {
    require(spellings, default: fallback, placeholder: 1, expected: "a number") { $0.real }
  }

  mutating func boolean(_ spellings: String..., default fallback: Bool? = nil) -> Bool {
    require(spellings, default: fallback, placeholder: false, expected: "true or false") {
      $0.boolean
    }
  }

  mutating func optionalString(_ spellings: String...) -> String? {
    convert(spellings, expected: "a string") { $0.string }
  }

  mutating func string(_ spellings: String..., default fallback: String? = nil) -> String {
    require(spellings, default: fallback, placeholder: "", expected: "a string") { $0.string }
  }

  /// A list of whole numbers, nil where the key is absent.
  mutating func optionalIntegers(_ spellings: String...) -> [Int]? {
    convert(spellings, expected: "a list of whole numbers") { value in
      guard let elements = value.array else { return nil }
      let integers = elements.compactMap(\.integer)
      return integers.count == elements.count ? integers : nil
    }
  }

  /// A list of strings, nil where the key is absent.
  mutating func optionalStrings(_ spellings: String...) -> [String]? {
    convert(spellings, expected: "a list of strings") { value in
      guard let elements = value.array else { return nil }
      let strings = elements.compactMap(\.string)
      return strings.count == elements.count ? strings : nil
    }
  }

  private mutating func convert<Value>(
    _ spellings: [String], expected: String, _ transform: (JSONDocument) -> Value?
  ) -> Value? {
    guard let found = value(spellings) else { return nil }
    if let converted = transform(found) { return converted }
    let key = spellings.first { object[$0] == found } ?? spellings[0]
    reject(key, "must be \(expected), is \(Self.excerpt(found))")
    return nil
  }

  private mutating func require<Value>(
    _ spellings: [String], default fallback: Value?, placeholder: Value, expected: String,
    _ transform: (JSONDocument) -> Value?
  ) -> Value {
    let problemCount = problems.count
    if let converted = convert(spellings, expected: expected, transform) { return converted }
    if problems.count > problemCount { return placeholder }
    if let fallback { return fallback }
    let others = spellings.dropFirst().map { " (or \($0))" }.joined()
    reject(spellings[0], "is missing\(others); \(expected) is needed")
    return placeholder
  }

  private static func excerpt(_ value: JSONDocument) -> String {
    let text = value.compactText()
    return text.count <= 60 ? text : "\(text.prefix(57))..."
  }
}
