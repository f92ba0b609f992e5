import XTunerTokenizers
import XTunerText

/// Records with `messages`, as the OpenAI API has them, and with `loss` per message.
enum MessagesFormat {
  /// The keys under which the list may stand, in order of preference.
  static let listKeys = ["messages", "conversations"]

  static func conversation(from value: JSONValue) throws(FormatError) -> Conversation {
    if let bare = value.arrayValue {
      return Conversation(messages: try messages(bare, key: listKeys[0]))
    }
    let record = try JSONCursor(value, path: "")
    try record.refuseMedia()
    let key = listKey(of: value)
    guard let list = try record.array(key) else { throw record.missing(key, "an array") }
    var messages = try messages(list, key: key)
    if let system = try record.string("system"), !system.isEmpty {
      if messages[0].role == "system" {
        throw FormatError("`system` and `\(key)[0]` both hold a system text; keep one")
      }
      messages.insert(ChatMessage(role: "system", content: system), at: 0)
    }
    return try RecordConverter.conversation(messages, of: record)
  }

  /// The key that holds the list.
  static func listKey(of record: JSONValue) -> String {
    listKeys.first { record[$0].map { !$0.isNull } ?? false } ?? listKeys[0]
  }

  private static func messages(
    _ list: [JSONValue], key: String
  ) throws(FormatError) -> [ChatMessage] {
    if list.isEmpty { throw FormatError("`\(key)` is empty") }
    var messages: [ChatMessage] = []
    messages.reserveCapacity(list.count)
    for (index, value) in list.enumerated() {
      messages.append(try message(JSONCursor(value, path: "\(key)[\(index)]")))
    }
    return messages
  }

  private static func message(_ cursor: JSONCursor) throws(FormatError) -> ChatMessage {
    let givenRole = try cursor.requiredString("role")
    let role = givenRole == "function" ? "tool" : givenRole
    let knownRoles = ["system", "developer", "user", "assistant", "tool", "pretrain"]
    guard knownRoles.contains(role) else {
      throw FormatError(
        "\(cursor.place("role")) is \"\(givenRole)\"; known roles: "
          + knownRoles.joined(separator: ", "))
    }
    try cursor.refuseMedia()
    let calls = try toolCalls(of: cursor)
    let content = try content(of: cursor)
    if content == nil, calls.isEmpty {
      throw cursor.missing("content", "a string or a list of text parts")
    }
    return ChatMessage(
      role: role, content: content ?? "", reasoningContent: try reasoning(of: cursor),
      toolCalls: calls,
      toolCallID: try cursor.string("tool_call_id"), name: try cursor.string("name"),
      loss: try cursor.isLearned())
  }

  private static func content(of cursor: JSONCursor) throws(FormatError) -> String? {
    guard let value = cursor.value("content") else { return nil }
    if let text = value.stringValue { return text }
    guard let parts = value.arrayValue else {
      throw cursor.mismatch("content", "a string or a list of text parts", value)
    }
    var text = ""
    for (index, part) in parts.enumerated() {
      let path = "\(cursor.path).content[\(index)]"
      let part = try JSONCursor(part, path: path)
      let type = try part.requiredString("type")
      guard type == "text" else {
        throw FormatError(
          "\(part.place("type")) is \"\(type)\": only text can be trained here; "
            + "remove the part or the record")
      }
      text += try part.requiredString("text")
    }
    return text
  }

  /// The reasoning, under any of the names that data sets use.
  private static func reasoning(of cursor: JSONCursor) throws(FormatError) -> String? {
    var found: (key: String, text: String)?
    for key in ["reasoning_content", "reasoning", "thinking"] {
      guard let text = try cursor.string(key) else { continue }
      if let found, !found.text.isExactly(text) {
        throw FormatError("\(cursor.place(found.key)) and \(cursor.place(key)) differ; keep one")
      }
      found = (key, text)
    }
    return found?.text
  }

  private static func toolCalls(of cursor: JSONCursor) throws(FormatError) -> [ToolCall] {
    if let legacy = cursor.value("function_call") {
      return [try toolCall(JSONCursor(legacy, path: "\(cursor.path).function_call"), id: nil)]
    }
    guard let list = try cursor.array("tool_calls") else { return [] }
    var calls: [ToolCall] = []
    for (index, value) in list.enumerated() {
      let path = "\(cursor.path).tool_calls[\(index)]"
      let call = try JSONCursor(value, path: path)
      let id = try call.string("id")
      let function = try call.value("function").map { value throws(FormatError) in
        try JSONCursor(value, path: "\(path).function")
      }
      calls.append(try toolCall(function ?? call, id: id))
    }
    return calls
  }

  private static func toolCall(
    _ function: JSONCursor, id: String?
  ) throws(FormatError) -> ToolCall {
    ToolCall(
      id: id, name: try function.requiredString("name"),
      arguments: try RecordConverter.arguments(
        function.value("arguments"), place: function.place("arguments")))
  }
}
