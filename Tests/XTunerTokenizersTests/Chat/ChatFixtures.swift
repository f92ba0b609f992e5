import Foundation
import Testing
import XTunerTokenizers

/// One conversation with the text it must be rendered to.
struct RenderCase: CustomTestStringConvertible, Sendable {
  let name: String
  let template: ChatTemplate
  let messages: [ChatMessage]
  let tools: [JSONValue]
  let addsGenerationPrompt: Bool
  let enablesThinking: Bool
  let expected: String

  var testDescription: String { "\(name) with \(template.name)" }

  static func load(_ file: String) throws -> [RenderCase] {
    let url = Bundle.module.bundleURL.appending(path: "Fixtures/chat/\(file)")
    let document = try JSONValue(parsing: String(contentsOf: url, encoding: .utf8))
    return try document.arrayValue!.map(RenderCase.init)
  }

  private init(_ json: JSONValue) throws {
    let named = try ChatTemplate.named(json["template"]!.stringValue!)
    template =
      try json["currentDate"].map { try named.configured(currentDate: $0.stringValue!) }
      ?? named
    name = json["name"]!.stringValue!
    messages = json["messages"]!.arrayValue!.map(ChatMessage.init)
    tools = json["tools"]?.arrayValue ?? []
    addsGenerationPrompt = json["addGenerationPrompt"]?.boolValue ?? false
    enablesThinking = json["enableThinking"]?.boolValue ?? true
    expected = json["expected"]!.stringValue!
  }
}

extension ChatMessage {
  fileprivate init(_ json: JSONValue) {
    let calls = json["tool_calls"]?.arrayValue ?? []
    self.init(
      role: json["role"]!.stringValue!, content: json["content"]!.stringValue!,
      reasoningContent: json["reasoning_content"]?.stringValue,
      toolCalls: calls.map {
        ToolCall(
          id: $0["id"]?.stringValue, name: $0["function"]!["name"]!.stringValue!,
          arguments: $0["function"]!["arguments"]!)
      },
      toolCallID: json["tool_call_id"]?.stringValue)
  }
}

extension [ChatSegment] {
  /// The text with the learned parts between ⟦ and ⟧.
  var marked: String { map { $0.carriesLoss ? "⟦\($0.text)⟧" : $0.text }.joined() }
  var joined: String { map(\.text).joined() }
}

func user(_ content: String, loss: Bool? = nil) -> ChatMessage {
  ChatMessage(role: "user", content: content, loss: loss)
}

func assistant(
  _ content: String, reasoning: String? = nil, calls: [ToolCall] = [], loss: Bool? = nil
) -> ChatMessage {
  ChatMessage(
    role: "assistant", content: content, reasoningContent: reasoning, toolCalls: calls, loss: loss)
}
