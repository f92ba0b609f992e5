internal import XTunerText

/// Writes tool declarations as the TypeScript-like listing that gpt-oss reads.
enum HarmonyToolListing {
  // White space that the published template writes inside of nested types.
  private static let objectIndent = String(repeating: " ", count: 16)
  private static let unionIndent = String(repeating: " ", count: 20)

  /// The namespace `functions` with one type for each tool.
  static func text(of tools: [JSONValue]) throws(ChatTemplateError) -> String {
    var lines = "## functions\n\nnamespace functions {\n\n"
    for (index, tool) in tools.enumerated() {
      let function = tool["function"] ?? tool
      guard let name = function["name"]?.stringValue else {
        throw ChatTemplateError(
          .unsupportedTools, "tools[\(index)]: needs a string `function.name`, is \(tool.excerpt)")
      }
      if let description = function["description"]?.stringValue {
        lines += "// \(description)\n"
      }
      lines += "type \(name) = \(signature(of: function["parameters"]))\n\n"
    }
    return "\(lines)} // namespace functions"
  }

  private static func signature(of parameters: JSONValue?) -> String {
    guard let properties = parameters?["properties"]?.objectValue, !properties.isEmpty else {
      return "() => any;"
    }
    let required = requiredNames(of: parameters)
    var text = "(_: {\n"
    for property in properties.entries {
      let schema = property.value
      if let description = schema["description"]?.stringValue, !description.isEmpty {
        text += "// \(description)\n"
      }
      let mark = required.containsExactly(property.key) ? "" : "?"
      text += "\(property.key)\(mark): \(type(of: schema))\(defaultComment(of: schema)),\n"
    }
    return "\(text)}) => any;"
  }

  private static func requiredNames(of schema: JSONValue?) -> [String] {
    schema?["required"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }

  private static func defaultComment(of schema: JSONValue) -> String {
    guard let value = schema["default"] else { return "" }
    if !(schema["enum"]?.arrayValue ?? []).isEmpty {
      return ", // default: \(value.plainText)"
    }
    if !(schema["oneOf"]?.arrayValue ?? []).isEmpty { return "// default: \(value.plainText)" }
    return ", // default: \(value.text())"
  }

  private static func type(of schema: JSONValue) -> String {
    if let alternatives = schema["type"]?.arrayValue, !alternatives.isEmpty {
      return alternatives.map(\.plainText).joined(separator: " | ")
    }
    let kind = schema["type"]?.stringValue
    if kind == "array" { return arrayType(of: schema) }
    if let variants = schema["oneOf"]?.arrayValue, !variants.isEmpty {
      return unionType(of: variants)
    }
    switch kind {
    case "string": return stringType(of: schema)
    case "number", "integer": return "number"
    case "boolean": return "boolean"
    case "object": return objectType(of: schema)
    default: return "any"
    }
  }

  private static func arrayType(of schema: JSONValue) -> String {
    let null = isNullable(schema) ? " | null" : ""
    guard let items = schema["items"], !(items.objectValue?.isEmpty ?? true) else {
      return "any[]\(null)"
    }
    switch items["type"]?.stringValue {
    case "string": return "string[]\(null)"
    case "number", "integer": return "number[]\(null)"
    case "boolean": return "boolean[]\(null)"
    default:
      // The published template gives up on element types longer than this.
      let longestElementType = 50
      let element = type(of: items)
      let isSimple = element.unicodeScalars.count <= longestElementType
      return "\(isSimple && element != "object | object" ? element : "any")[]\(null)"
    }
  }

  private static func unionType(of variants: [JSONValue]) -> String {
    variants.map { variant in
      var text = type(of: variant)
      if let description = variant["description"]?.stringValue, !description.isEmpty {
        text += "// \(description)"
      }
      if let value = variant["default"] {
        text += "\(unionIndent)// default: \(value.text())"
      }
      return text
    }.joined(separator: " | \n")
  }

  private static func stringType(of schema: JSONValue) -> String {
    if let choices = schema["enum"]?.arrayValue, !choices.isEmpty {
      return "\"\(choices.map(\.plainText).joined(separator: "\" | \""))\""
    }
    return isNullable(schema) ? "string | null" : "string"
  }

  private static func objectType(of schema: JSONValue) -> String {
    guard let properties = schema["properties"]?.objectValue, !properties.isEmpty else {
      return "object"
    }
    let required = requiredNames(of: schema)
    let members = properties.entries.map { entry in
      let mark = required.containsExactly(entry.key) ? "" : "?"
      return "\(entry.key)\(mark): \n\(objectIndent)\(type(of: entry.value))"
    }
    return "{\n\(members.joined(separator: ", "))}"
  }

  private static func isNullable(_ schema: JSONValue) -> Bool {
    schema["nullable"] == .bool(true)
  }
}

extension JSONValue {
  /// A string without quotes, everything else as JSON.
  fileprivate var plainText: String { stringValue ?? text() }

  /// The beginning of the JSON text, for error messages.
  fileprivate var excerpt: String {
    let limit = 80
    let text = text()
    return text.count > limit ? "\(text.prefix(limit))..." : text
  }
}
