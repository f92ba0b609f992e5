import Foundation
import Testing
import XTunerData
import XTunerTokenizers

struct FormatTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func read(_ text: String, format: DataFormat = .auto) throws -> [RecordContent] {
    let file = try folder.write("\(UUID().uuidString).jsonl", text)
    let reader = try RecordReader(source: RecordSource(paths: [file], format: format))
    var contents: [RecordContent] = []
    while let record = try reader.next() { contents.append(record.content) }
    return contents
  }

  private func conversation(_ text: String, format: DataFormat = .auto) throws -> Conversation {
    let contents = try read(text, format: format)
    guard case .conversation(let conversation) = contents[0], contents.count == 1 else {
      throw DecodingFailure()
    }
    return conversation
  }

  private struct DecodingFailure: Error {}

  private func failure(_ text: String, format: DataFormat = .auto) -> DataReadError? {
    #expect(throws: DataReadError.self) { try read(text, format: format) }
  }

  @Test func readsMessagesWithToolsAndLoss() throws {
    let text = #"""
      {"id": 7, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"}, {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"z\": 1, \"a\": 2}"}}], "loss": false}, {"role": "tool", "tool_call_id": "c1", "content": "4"}, {"role": "assistant", "content": "d", "weight": 1}], "tools": [{"type": "function", "function": {"name": "f"}}]}
      """#
    let expected = Conversation(
      messages: [
        ChatMessage(role: "system", content: "s"),
        ChatMessage(role: "user", content: "ab", name: "Ann"),
        ChatMessage(
          role: "assistant", reasoningContent: "hm",
          toolCalls: [ToolCall(id: "c1", name: "f", arguments: .string(#"{"z": 1, "a": 2}"#))],
          loss: false),
        ChatMessage(role: "tool", content: "4", toolCallID: "c1"),
        ChatMessage(role: "assistant", content: "d", loss: true),
      ], tools: [["type": "function", "function": ["name": "f"]]])
    #expect(try conversation(text) == expected)
  }

  @Test func readsMessagesUnderOtherNames() throws {
    let list = #"[{"role": "user", "content": "a"}, {"role": "function", "content": "b"}]"#
    for text in [list, "{\"conversations\": \(list)}", "{\"messages\": \(list)}"] {
      #expect(try conversation(text).messages.map(\.role) == ["user", "tool"])
    }
  }

  @Test func readsShareGPT() throws {
    let text = #"""
      {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"}, {"from": "observation", "value": "4"}, {"from": "gpt", "value": "d"}], "tools": "[{\"name\": \"f\"}]"}
      """#
    let conversation = try conversation(text)
    #expect(
      conversation.messages.map(\.role) == ["system", "user", "assistant", "tool", "assistant"])
    #expect(conversation.messages[2].toolCalls == [ToolCall(name: "f", arguments: ["a": 1])])
    #expect(conversation.tools == [["type": "function", "function": ["name": "f"]]])
  }

  @Test func toolsGetTheLayoutThatServingHas() throws {
    let wrapped: JSONValue = [
      "type": "function", "function": ["name": "f", "description": "d", "parameters": [:]],
    ]
    let turns = #""conversations": [{"from": "human", "value": "q"}]"#
    let messages = #""messages": [{"role": "user", "content": "q"}]"#
    let bare = #"{"name": "f", "description": "d", "parameters": {}}"#
    for record in [
      "{\(turns), \"tools\": [\(bare)]}", "{\(messages), \"tools\": [\(bare)]}",
      "{\(messages), \"functions\": [\(bare)]}",
      #"{\#(messages), "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}}]}"#,
      "{\(messages), \"tools\": [\(wrapped.text())]}",
    ] {
      #expect(try conversation(record).tools == [wrapped], "\(record)")
    }
  }

  @Test func argumentsGivenAsTextStayAsTheyAre() throws {
    let text = #"""
      {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\":1e5}"}}]}]}
      """#
    #expect(
      try conversation(text).messages[1].toolCalls[0].arguments == .string(#"{"x":1e5}"#))
    let turns = #"""
      {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": \"{\\\"x\\\":1e5}\"}"}]}
      """#
    #expect(
      try conversation(turns).messages[1].toolCalls[0].arguments == .string(#"{"x":1e5}"#))
  }

  @Test(arguments: [
    (
      #"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 0}]}"#,
      [nil, false]
    ),
    (
      #"{"conversations": [{"from": "human", "value": "q", "weight": 1}, {"from": "gpt", "value": "a", "loss": false}]}"#,
      [true, false]
    ),
    (
      #"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "loss": true}], "weight": 0}"#,
      [false, true]
    ),
    (#"{"messages": [{"role": "user", "content": "q"}], "loss": false}"#, [false]),
    (#"{"instruction": "q", "output": "a", "weight": 0}"#, [false, false]),
    (#"{"instruction": "q", "output": "a", "weight": 1.0}"#, [nil, nil]),
  ])
  func weightAndLossSayWhatIsLearned(_ text: String, _ expected: [Bool?]) throws {
    #expect(try conversation(text).messages.map(\.loss) == expected)
  }

  @Test func aSystemTextBesideTheMessagesIsTheirFirst() throws {
    let text = #"{"system": "s", "messages": [{"role": "user", "content": "q"}]}"#
    #expect(try conversation(text).messages.map(\.content) == ["s", "q"])
  }

  @Test func readsAlpacaWithHistory() throws {
    let text = #"""
      {"instruction": "Sum", "input": "2 2", "output": "4", "system": "s", "history": [["q", "a"]]}
      """#
    let conversation = try conversation(text)
    #expect(conversation.messages.map(\.content) == ["s", "q", "a", "Sum\n2 2", "4"])
    #expect(
      conversation.messages.map(\.role) == ["system", "user", "assistant", "user", "assistant"])
  }

  @Test func readsText() throws {
    #expect(try read("{\"text\": \"a\"}\n{\"text\": \"\"}") == [.text("a"), .text("")])
  }

  @Test func explainsWhatItFound() throws {
    let line = #"{"messages": [{"role": "user", "content": "a"}]}"# + "\n"
    let file = try folder.write("a.jsonl", String(repeating: line, count: 23))
    let reader = try RecordReader(source: RecordSource(paths: [file]))
    #expect(reader.format == .messages)
    #expect(
      reader.explanation
        == "messages: found key `messages` with role/content objects in the first 16 records of "
        + file)
  }

  @Test func ambiguousRecordsAskForAFormat() throws {
    let text = #"{"text": "a", "messages": [{"role": "user", "content": "a"}]}"#
    let error = failure(text)
    #expect(error?.code == .unclearFormat)
    #expect(error?.message.contains("messages (key `messages`") == true)
    #expect(error?.message.contains("set `format:`") == true)
    #expect(try read(text, format: .text) == [.text("a")])
  }

  @Test func mixedRecordsAreCounted() throws {
    let text = #"""
      {"text": "a"}
      {"instruction": "i", "output": "o"}
      {"text": "b"}
      """#
    let error = failure(text)
    #expect(error?.code == .unclearFormat)
    #expect(error?.message.contains("2 text (first at ") == true)
    #expect(error?.message.contains("1 alpaca (first at ") == true)
  }

  @Test func unknownRecordsShowTheirKeys() throws {
    let error = failure(#"{"prompt": "a", "completion": "b"}"#)
    #expect(error?.code == .unclearFormat)
    #expect(error?.message.contains("keys prompt, completion") == true)
    #expect(failure("[1, 2]")?.message.contains("not an object") == true)
  }

  @Test func aLaterRecordOfAnotherFormatIsAnError() throws {
    let text = String(repeating: "{\"text\": \"a\"}\n", count: 19) + "{\"content\": \"b\"}\n"
    let error = failure(text)
    #expect(error?.code == .invalidRecord)
    #expect(error?.line == 20)
    #expect(
      error?.message.contains("`text` must be a string, is missing; keys here: content") == true)
  }

  @Test(arguments: [
    (#"{"messages": []}"#, "`messages` is empty"),
    (#"{"messages": 5}"#, "`messages` must be an array, is an integer"),
    (#"{"messages": [5]}"#, "messages[0] must be an object, is an integer"),
    (#"{"messages": [{"role": "usr", "content": ""}]}"#, "`messages[0].role` is \"usr\""),
    (#"{"messages": [{"role": "user"}]}"#, "`messages[0].content` must be a string"),
    (
      #"{"messages": [{"role": "user", "content": 1.5}]}"#, "`messages[0].content` must be a string"
    ),
    (#"{"messages": [{"role": "user", "content": null}]}"#, "is null"),
    (
      #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}"#,
      "`messages[0].content[0].type` is \"image_url\": only text"
    ),
    (
      #"{"messages": [{"role": "user", "content": "a"}], "images": ["x.png"]}"#,
      "`images`: only text"
    ),
    (
      #"{"messages": [{"role": "user", "content": "a", "loss": "yes"}]}"#,
      "`messages[0].loss` must be true or false, is a string"
    ),
    (
      #"{"messages": [{"role": "user", "content": "a", "weight": 0.5}]}"#,
      "`messages[0].weight` must be 0 or 1, is 0.5"
    ),
    (
      #"{"messages": [{"role": "assistant", "content": "", "thinking": "a", "reasoning": "b"}]}"#,
      "differ; keep one"
    ),
    (
      #"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}"#,
      "`messages[0].tool_calls[0].function.arguments` is a string that does not hold a JSON object"
    ),
    (
      #"{"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}"#,
      "`messages[0].tool_calls[0].function.name` must be a string, is missing"
    ),
    (#"{"messages": [{"role": "user", "content": "a"}], "tools": "{"}"#, "does not hold JSON"),
    (#"{"messages": [{"role": "user", "content": "a"}], "tools": ["f"]}"#, "`tools[0]` must be"),
    (
      #"{"messages": [{"role": "user", "content": "a"}], "tools": [{}], "functions": [{}]}"#,
      "`tools` and `functions`; keep one"
    ),
    (
      #"{"messages": [{"role": "user", "content": "a", "loss": true, "weight": 0}]}"#,
      "`messages[0].loss` and `messages[0].weight` differ"
    ),
    (
      #"{"messages": [{"role": "user", "content": "a"}], "weight": 2}"#,
      "`weight` must be 0 or 1, is 2"
    ),
    (
      #"{"messages": [{"role": "system", "content": "a"}], "system": "b"}"#,
      "`system` and `messages[0]` both hold a system text"
    ),
  ])
  func wrongMessagesNameThePlace(_ text: String, _ expected: String) {
    let error = failure(text, format: .messages)
    #expect(error?.message.contains(expected) == true, "\(error?.description ?? "none")")
  }

  @Test(arguments: [
    (DataFormat.shareGPT, #"{"conversations": [{"from": "narrator", "value": ""}]}"#, "narrator"),
    (
      .shareGPT, #"{"conversations": [{"from": "gpt", "value": 3}]}"#, "[0].value` must be a string"
    ),
    (.shareGPT, #"{"conversations": []}"#, "is empty"),
    (.shareGPT, #"{"conversations": [{"from": "function_call", "value": "f(x)"}]}"#, "as JSON"),
    (.alpaca, #"{"instruction": "a"}"#, "`output` must be a string, is missing"),
    (.alpaca, #"{"instruction": "a", "output": "b", "history": [["q"]]}"#, "`history[0]`"),
    (
      .shareGPT, #"{"conversations": [{"from": "gpt", "value": "a", "weight": 0.5}]}"#,
      "[0].weight` must be 0 or 1"
    ),
    (.text, #"{"text": "a", "weight": 0}"#, "learned whole; leave the record out"),
    (.text, #"{"text": ["a"]}"#, "`text` must be a string, is an array"),
    (.text, #""just a string""#, "the record must be an object, is a string"),
  ])
  func otherWrongRecordsNameThePlace(_ format: DataFormat, _ text: String, _ expected: String) {
    let error = failure(text, format: format)
    #expect(error?.message.contains(expected) == true, "\(error?.description ?? "none")")
  }

  @Test func plainTextIsNoConversation() throws {
    let file = try folder.write("a.txt", "hello")
    let error = #expect(throws: DataReadError.self) {
      try RecordReader(source: RecordSource(paths: [file], format: .messages)).next()
    }
    #expect(error?.message.contains("plain text") == true)
  }
}
