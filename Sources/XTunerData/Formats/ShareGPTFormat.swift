import XTunerTokenizers

/// Records with `conversations` of `from` and `value`.
enum ShareGPTFormat {
  static func conversation(from value: JSONValue) throws(FormatError) -> Conversation {
    let record = try JSONCursor(value, path: "")
    try record.refuseMedia()
    guard let list = try record.array("conversations") else {
      throw record.missing("conversations", "an array")
    }
    if list.isEmpty { throw FormatError("`conversations` is empty") }
    var messages: [ChatMessage] = []
    if let system = try record.string("system"), !system.isEmpty {
      messages.append(ChatMessage(role: "system", content: system))
    }
    for (index, value) in list.enumerated() {
      messages.append(try message(JSONCursor(value, path: "conversations[\(index)]")))
    }
    return try RecordConverter.conversation(messages, of: record)
  }

  private static func message(_ cursor: JSONCursor) throws(FormatError) -> ChatMessage {
    let speaker = try cursor.requiredString("from")
    let text = try cursor.requiredString("value")
    let loss = try cursor.isLearned()
    switch speaker {
    case "function_call", "tool_call":
      return ChatMessage(
        role: "assistant", toolCalls: try toolCalls(text, place: cursor.place("value")), loss: loss)
    default:
      return ChatMessage(role: try role(of: speaker, cursor), content: text, loss: loss)
    }
  }

  private static func role(
    of speaker: String, _ cursor: JSONCursor
  ) throws(FormatError) -> String {
    switch speaker {
    case "human", "user": return "user"
    case "gpt", "assistant", "chatgpt", "bot", "model": return "assistant"
    case "system": return "system"
    case "tool", "observation", "function_response", "tool_response": return "tool"
    default:
      throw FormatError(
        "\(cursor.place("from")) is \"\(speaker)\"; known: human, user, gpt, assistant, chatgpt, "
          + "bot, model, system, tool, observation, function_response, tool_response, "
          + "function_call, tool_call")
    }
  }

  /// A call, or a list of calls, that stands as JSON in the text of a turn.
  private static func toolCalls(
    _ text: String, place: String
  ) throws(FormatError) -> [ToolCall] {
    guard let value = try? JSONValue(parsing: text) else {
      throw FormatError("\(place) must hold a call as JSON")
    }
    var calls: [ToolCall] = []
    for call in value.arrayValue ?? [value] {
      let call = try JSONCursor(call, path: place.replacing("`", with: ""))
      calls.append(
        ToolCall(
          name: try call.requiredString("name"),
          arguments: try RecordConverter.arguments(
            call.value("arguments"), place: call.place("arguments"))))
    }
    return calls
  }
}
