import Foundation

/// A JSON-like value that keeps the order of its keys: what free-form settings hold.
///
/// Scalars follow the core schema of YAML 1.2, so `no` and `1:30` are texts, not a boolean and a
/// count of seconds.
public enum ConfigurationValue: Sendable, Hashable {
  /// The absence of a value.
  case null
  /// `true` or `false`.
  case boolean(Bool)
  /// A whole number.
  case integer(Int)
  /// A number with a fraction or an exponent.
  case number(Double)
  /// A text.
  case text(String)
  /// An ordered list.
  case list([ConfigurationValue])
  /// Keys and values in the order of the file; keys are unique.
  case mapping([Entry])

  /// One key of a mapping with its value.
  public struct Entry: Sendable, Hashable {
    /// The key.
    public var key: String
    /// The value.
    public var value: ConfigurationValue

    /// Pairs a key with its value.
    public init(_ key: String, _ value: ConfigurationValue) {
      self.key = key
      self.value = value
    }
  }

  /// The value of a key when this is a mapping that has it.
  public subscript(key: String) -> ConfigurationValue? {
    guard case .mapping(let entries) = self else { return nil }
    return entries.first { $0.key == key }?.value
  }

  /// The value as JSON; with an indent, spread over lines.
  ///
  /// - Parameter indent: Spaces a level, or `nil` for one line.
  /// - Returns: JSON in which a number that is not finite is `null`.
  public func json(indent: Int? = nil) -> String {
    json(indent: indent, level: 0)
  }

  private func json(indent: Int?, level: Int) -> String {
    switch self {
    case .null: return "null"
    case .boolean(let value): return value ? "true" : "false"
    case .integer(let value): return String(value)
    case .number(let value): return value.isFinite ? "\(value)" : "null"
    case .text(let value): return Self.quoted(value)
    case .list(let items):
      return Self.wrap(
        items.map { $0.json(indent: indent, level: level + 1) }, "[", "]", indent, level)
    case .mapping(let entries):
      let lines = entries.map { entry in
        let value = entry.value.json(indent: indent, level: level + 1)
        return "\(Self.quoted(entry.key)): \(value)"
      }
      return Self.wrap(lines, "{", "}", indent, level)
    }
  }

  private static func wrap(
    _ items: [String], _ open: String, _ close: String, _ indent: Int?, _ level: Int
  ) -> String {
    guard let indent, !items.isEmpty else {
      return "\(open)\(items.joined(separator: ", "))\(close)"
    }
    let inner = String(repeating: " ", count: indent * (level + 1))
    let outer = String(repeating: " ", count: indent * level)
    let body = items.map { "\(inner)\($0)" }.joined(separator: ",\n")
    return "\(open)\n\(body)\n\(outer)\(close)"
  }

  /// A text in double quotes, escaped as JSON asks, which YAML reads too.
  package static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _
      where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        || scalar.value == 0x2028 || scalar.value == 0x2029 || scalar.value == 0xFEFF:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

extension ConfigurationValue {
  /// The value as YAML lines, without a final newline; nested blocks are indented by two spaces.
  func yamlLines(indent: Int = 0) -> [String] {
    let margin = String(repeating: " ", count: indent)
    switch self {
    case .mapping(let entries) where !entries.isEmpty:
      return entries.flatMap { entry -> [String] in
        let key = Self.yamlScalar(entry.key)
        guard entry.value.isBlock else {
          return ["\(margin)\(key): \(entry.value.flow)"]
        }
        return ["\(margin)\(key):"] + entry.value.yamlLines(indent: indent + 2)
      }
    case .list(let items) where isBlock:
      return items.flatMap { item -> [String] in
        guard item.isBlock else { return ["\(margin)- \(item.flow)"] }
        var lines = item.yamlLines(indent: indent + 2)
        lines[0] = "\(margin)- \(lines[0].dropFirst(indent + 2))"
        return lines
      }
    default:
      return ["\(margin)\(flow)"]
    }
  }

  /// True for what YAML writes over several lines: mappings, and lists that hold one.
  var isBlock: Bool {
    switch self {
    case .mapping(let entries): !entries.isEmpty
    case .list(let items): items.contains { $0.isBlock }
    case .null, .boolean, .integer, .number, .text: false
    }
  }

  /// The value on one line, as a YAML scalar or flow collection.
  var flow: String {
    switch self {
    case .null, .boolean, .integer: json()
    case .number(let value): Self.yamlNumber(value)
    case .text(let value): Self.yamlScalar(value)
    case .list(let items): "[\(items.map(\.flow).joined(separator: ", "))]"
    case .mapping(let entries):
      "{\(entries.map { "\(Self.yamlScalar($0.key)): \($0.value.flow)" }.joined(separator: ", "))}"
    }
  }

  private static func yamlNumber(_ value: Double) -> String {
    if value.isNaN { return ".nan" }
    if value.isInfinite { return value < 0 ? "-.inf" : ".inf" }
    let text = "\(value)"
    // YAML 1.1 readers take 1e-05, without a point, for a text.
    return text.contains(".") ? text : text.replacing("e", with: ".0e")
  }

  /// A text as a plain scalar where every YAML version reads it as that text, quoted elsewhere.
  static func yamlScalar(_ text: String) -> String {
    let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+")
    let reserved: Set = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"]
    guard let first = text.first, first.isLetter || first == "/" || first == "_",
      text.allSatisfy(plain.contains), !reserved.contains(text.lowercased())
    else { return quoted(text) }
    return text
  }
}
