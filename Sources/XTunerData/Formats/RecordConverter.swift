import XTunerTokenizers

/// Turns raw records into conversations or text.
enum RecordConverter {
  static func content(
    of record: RawRecord, format: DataFormat
  ) throws(FormatError) -> RecordContent {
    switch (record.content, format) {
    case (.plainText(let text), .text): return .text(text)
    case (.plainText, _):
      throw FormatError("the file is plain text; set `format: text` or name a JSONL file")
    case (.json(let value), .messages):
      return .conversation(try MessagesFormat.conversation(from: value))
    case (.json(let value), .shareGPT):
      return .conversation(try ShareGPTFormat.conversation(from: value))
    case (.json(let value), .alpaca):
      return .conversation(try AlpacaFormat.conversation(from: value))
    case (.json(let value), .text), (.json(let value), .auto):
      let record = try JSONCursor(value, path: "")
      try record.refuseMedia()
      return .text(try record.requiredString("text"))
    }
  }

  /// Tool declarations, as a list or as a string that holds one.
  static func tools(of record: JSONCursor) throws(FormatError) -> [JSONValue] {
    guard var value = record.value("tools") else { return [] }
    if let text = value.stringValue {
      if text.isEmpty { return [] }
      guard let parsed = try? JSONValue(parsing: text) else {
        throw FormatError("\(record.place("tools")) is a string that does not hold JSON")
      }
      value = parsed
    }
    guard let tools = value.arrayValue else { throw record.mismatch("tools", "an array", value) }
    for (index, tool) in tools.enumerated() where tool.objectValue == nil {
      throw FormatError(
        "`tools[\(index)]` must be an object, is \(tool.kindDescription)")
    }
    return tools
  }

  /// The arguments of a call: an object, or a string that holds one.
  static func arguments(_ value: JSONValue?, place: String) throws(FormatError) -> JSONValue {
    switch value {
    case .object?: return value ?? [:]
    case nil, .null?: return [:]
    case .string(let text)?:
      if text.isEmpty { return [:] }
      if let parsed = try? JSONValue(parsing: text), parsed.objectValue != nil { return parsed }
      throw FormatError("\(place) is a string that does not hold a JSON object")
    case .bool?, .integer?, .bigInteger?, .double?, .array?:
      throw FormatError(
        "\(place) must be an object, is \(value?.kindDescription ?? "missing")")
    }
  }
}
