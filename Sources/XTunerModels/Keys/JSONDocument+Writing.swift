extension JSONDocument {
  /// The text with two spaces of indentation and one member a line, without a final line feed.
  public func indentedText() -> String {
    var text = ""
    write(to: &text, indentation: 0)
    return text
  }

  /// The text without white space.
  public func compactText() -> String {
    var text = ""
    write(to: &text, indentation: nil)
    return text
  }

  private func write(to text: inout String, indentation: Int?) {
    switch self {
    case .null: text += "null"
    case .boolean(let value): text += value ? "true" : "false"
    case .number(let digits): text += digits
    case .string(let value): Self.writeQuoted(value, to: &text)
    case .array(let elements):
      Self.writeList(open: "[", close: "]", elements, to: &text, indentation: indentation) {
        $0.write(to: &$1, indentation: $2)
      }
    case .object(let members):
      Self.writeList(open: "{", close: "}", members.keys, to: &text, indentation: indentation) {
        Self.writeQuoted($0, to: &$1)
        $1 += indentation == nil ? ":" : ": "
        members[$0]?.write(to: &$1, indentation: $2)
      }
    }
  }

  private static func writeList<Element>(
    open: String, close: String, _ elements: [Element], to text: inout String, indentation: Int?,
    writeElement: (Element, inout String, Int?) -> Void
  ) {
    text += open
    let inner = indentation.map { $0 + 2 }
    for (index, element) in elements.enumerated() {
      if index > 0 { text += "," }
      if let inner { text += "\n\(String(repeating: " ", count: inner))" }
      writeElement(element, &text, inner)
    }
    if let indentation, !elements.isEmpty {
      text += "\n\(String(repeating: " ", count: indentation))"
    }
    text += close
  }

  private static func writeQuoted(_ value: String, to text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case "\u{0}"..<" ":
        let digits = String(scalar.value, radix: 16)
        text += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)"
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
