import Foundation

/// A node of a parsed configuration: YAML without tags, anchors and merges, with origins.
struct ConfigurationNode: Sendable {
  enum Content: Sendable {
    /// A scalar; `isPlain` is false when it was quoted, and so is a text for certain.
    case scalar(String, isPlain: Bool)
    case list([ConfigurationNode])
    case mapping([Entry])
  }

  /// One key of a mapping, with the place of the key.
  struct Entry: Sendable {
    var key: String
    var origin: ConfigurationOrigin
    var value: ConfigurationNode
  }

  var content: Content
  var origin: ConfigurationOrigin

  /// True for an empty value, `~` and `null`.
  var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return ["", "~", "null", "Null", "NULL"].contains(text)
  }

  /// The value for an error message: short, on one line, quoted when it was quoted.
  var summary: String {
    switch content {
    case .scalar:
      if isNull { return "empty" }
      return scalarSummary
    case .list(let items):
      return items.count == 1 ? "a list of 1 item" : "a list of \(items.count) items"
    case .mapping: return "a mapping"
    }
  }

  private var scalarSummary: String {
    guard case .scalar(let text, let isPlain) = content else { return "" }
    let short = text.count > 60 ? "\(text.prefix(57))..." : text
    return isPlain && !short.contains("\n") ? short : ConfigurationValue.quoted(short)
  }

  /// The node as a free-form value; scalars follow the core schema of YAML 1.2.
  var value: ConfigurationValue {
    switch content {
    case .list(let items):
      return .list(items.map(\.value))
    case .mapping(let entries):
      return .mapping(entries.map { .init($0.key, $0.value.value) })
    case .scalar(let text, let isPlain):
      guard isPlain else { return .text(text) }
      if isNull { return .null }
      if ["true", "True", "TRUE"].contains(text) { return .boolean(true) }
      if ["false", "False", "FALSE"].contains(text) { return .boolean(false) }
      if let number = ScalarSyntax.integer(text) { return .integer(number) }
      if let number = ScalarSyntax.number(text) { return .number(number) }
      return .text(text)
    }
  }
}

/// How numbers are written in a configuration.
enum ScalarSyntax {
  /// A decimal whole number, `1_000` included; `nil` for leading zeros, exponents and `1:30`, and for
  /// more than 64 bits hold.
  static func integer(_ text: String) -> Int? {
    isInteger(text) ? Int(text.filter { $0 != "_" }) : nil
  }

  /// Whether a text is written as a whole number of any size.
  static func isInteger(_ text: String) -> Bool {
    let unsigned = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
    guard let first = unsigned.first, let last = unsigned.last else { return false }
    return first.isASCIIDigit && last.isASCIIDigit && (first != "0" || unsigned.count == 1)
      && unsigned.allSatisfy { $0.isASCIIDigit || $0 == "_" }
  }

  /// A decimal number, with or without fraction and exponent (`1e-4` too), `.inf` and `.nan`.
  static func number(_ text: String) -> Double? {
    if let number = integer(text) { return Double(number) }
    switch text.lowercased() {
    case ".inf", "+.inf": return .infinity
    case "-.inf": return -.infinity
    case ".nan": return .nan
    default: break
    }
    let allowed = text.allSatisfy { $0.isASCIIDigit || ".eE+-_".contains($0) }
    guard allowed, text.contains(where: \.isASCIIDigit), let first = text.first, first != "_",
      !text.hasPrefix("e"), !text.hasPrefix("E")
    else { return nil }
    return Double(text.filter { $0 != "_" })
  }
}

extension Character {
  fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
