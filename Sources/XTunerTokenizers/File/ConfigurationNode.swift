internal import XTunerText

/// A JSON value together with the file and key it came from, so that errors can name both.
struct ConfigurationNode {
  let value: TokenizerJSON
  let file: String
  let key: String

  init(_ value: TokenizerJSON, file: String, key: String = "") {
    self.value = value
    self.file = file
    self.key = key
  }

  /// An error about this value.
  func error(_ code: TokenizerError.Code, _ message: String) -> TokenizerError {
    TokenizerError(code, file: file, key: key, message)
  }

  /// The member named `name`, or nil if it is absent or null.
  func member(_ name: String) throws(TokenizerError) -> ConfigurationNode? {
    let members = try object()
    guard let found = members.last(where: { $0.key.isExactly(name) }) else { return nil }
    if case .null = found.value { return nil }
    return ConfigurationNode(found.value, file: file, key: path(name))
  }

  /// The member named `name`; it is an error if it is absent or null.
  func required(_ name: String) throws(TokenizerError) -> ConfigurationNode {
    guard let found = try member(name) else {
      throw TokenizerError(.malformed, file: file, key: path(name), "is missing")
    }
    return found
  }

  func path(_ name: String) -> String { key.isEmpty ? name : "\(key).\(name)" }

  func object() throws(TokenizerError) -> [(key: String, value: TokenizerJSON)] {
    guard case .object(let members) = value else {
      throw error(.malformed, "must be an object, is \(value.kind)")
    }
    return members
  }

  func elements() throws(TokenizerError) -> [ConfigurationNode] {
    guard case .array(let values) = value else {
      throw error(.malformed, "must be a list, is \(value.kind)")
    }
    return values.enumerated().map { index, value in
      ConfigurationNode(value, file: file, key: "\(key)[\(index)]")
    }
  }

  func string() throws(TokenizerError) -> String {
    guard case .string(let text) = value else {
      throw error(.malformed, "must be a string, is \(value.kind)")
    }
    return text
  }

  func bool() throws(TokenizerError) -> Bool {
    guard case .bool(let flag) = value else {
      throw error(.malformed, "must be true or false, is \(value.kind)")
    }
    return flag
  }

  /// A whole number from 0 to 2^31 - 1.
  func count() throws(TokenizerError) -> Int {
    guard case .number(let number) = value, number >= 0, number <= 2_147_483_647,
      number == number.rounded()
    else { throw error(.malformed, "must be a whole number from 0, is \(value.kind)") }
    return Int(number)
  }

  func bool(_ name: String, default fallback: Bool) throws(TokenizerError) -> Bool {
    guard let node = try member(name) else { return fallback }
    return try node.bool()
  }

  /// Refuses keys that are not in `known`, because they would be ignored.
  func allowOnly(_ known: [String]) throws(TokenizerError) {
    for (name, _) in try object() where !known.containsExactly(name) {
      throw TokenizerError(
        .unsupported, file: file, key: path(name),
        "is not known here; known keys are \(known.joined(separator: ", "))")
    }
  }
}
