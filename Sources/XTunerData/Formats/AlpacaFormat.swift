import XTunerTokenizers

/// Records with `instruction`, optional `input`, and `output`.
enum AlpacaFormat {
  static func conversation(from value: JSONValue) throws(FormatError) -> Conversation {
    let record = try JSONCursor(value, path: "")
    try record.refuseMedia()
    var messages: [ChatMessage] = []
    if let system = try record.string("system"), !system.isEmpty {
      messages.append(ChatMessage(role: "system", content: system))
    }
    for (index, turn) in (try record.array("history") ?? []).enumerated() {
      let texts = turn.arrayValue?.compactMap(\.stringValue) ?? []
      guard texts.count == 2, turn.arrayValue?.count == 2 else {
        throw FormatError("`history[\(index)]` must be a list of two strings, question and answer")
      }
      messages.append(ChatMessage(role: "user", content: texts[0]))
      messages.append(ChatMessage(role: "assistant", content: texts[1]))
    }
    let instruction = try record.requiredString("instruction")
    let input = try record.string("input") ?? ""
    let question = [instruction, input].filter { !$0.isEmpty }.joined(separator: "\n")
    messages.append(ChatMessage(role: "user", content: question))
    messages.append(
      ChatMessage(role: "assistant", content: try record.requiredString("output")))
    return try RecordConverter.conversation(messages, of: record)
  }
}
