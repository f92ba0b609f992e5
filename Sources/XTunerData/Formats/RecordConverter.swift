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
      guard try record.isLearned() ?? true else {
        throw FormatError("a text is learned whole; leave the record out instead")
      }
      return .text(try record.requiredString("text"))
    }
  }

  /// A conversation with the tools of its record; what the record says about being learned holds for
  /// all messages that say nothing themselves.
  static func conversation(
    _ messages: [ChatMessage], of record: JSONCursor
  ) throws(FormatError) -> Conversation {
    var messages = messages
    if try record.isLearned() == false {
      for index in messages.indices where messages[index].loss == nil {
        messages[index].loss = false
      }
    }
    return Conversation(messages: messages, tools: try tools(of: record))
  }

  /// Tool declarations, as a list or as a string that holds one, in the OpenAI layout: what stands
  /// bare, as in ShareGPT data and under OpenAI's former key `functions`, is put into it, for so do
  /// the servers that a model meets later.
  static func tools(of record: JSONCursor) throws(FormatError) -> [JSONValue] {
    if record.value("tools") != nil, record.value("functions") != nil {
      throw FormatError("\(record.place("tools")) and \(record.place("functions")); keep one")
    }
    let key = record.value("functions") == nil ? "tools" : "functions"
    guard var value = record.value(key) else { return [] }
    if let text = value.stringValue {
      if text.isEmpty { return [] }
      guard let parsed = try? JSONValue(parsing: text) else {
        throw FormatError("\(record.place(key)) is a string that does not hold JSON")
      }
      value = parsed
    }
    guard let tools = value.arrayValue else { throw record.mismatch(key, "an array", value) }
    var declarations: [JSONValue] = []
    for (index, tool) in tools.enumerated() {
      guard let object = tool.objectValue else {
        throw FormatError("`\(key)[\(index)]` must be an object, is \(tool.kindDescription)")
      }
      declarations.append(declaration(object))
    }
    return declarations
  }

  private static func declaration(_ tool: JSONObject) -> JSONValue {
    let type = tool["type"].map { $0.stringValue ?? "" } ?? "function"
    guard tool["function"] == nil, tool["name"]?.stringValue != nil, type == "function" else {
      return .object(tool)
    }
    var function = tool
    function["type"] = nil
    return ["type": "function", "function": .object(function)]
  }

  /// The arguments of a call: an object, or a string that holds one and stays as it is.
  static func arguments(_ value: JSONValue?, place: String) throws(FormatError) -> JSONValue {
    switch value {
    case .object?: return value ?? [:]
    case nil, .null?: return [:]
    case .string(let text)?:
      if text.isEmpty { return [:] }
      if let parsed = try? JSONValue(parsing: text), parsed.objectValue != nil {
        return .string(text)
      }
      throw FormatError("\(place) is a string that does not hold a JSON object")
    case .bool?, .integer?, .bigInteger?, .double?, .array?:
      throw FormatError(
        "\(place) must be an object, is \(value?.kindDescription ?? "missing")")
    }
  }
}
