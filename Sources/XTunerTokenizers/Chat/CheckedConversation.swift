internal import XTunerText

/// A conversation whose order of messages has been checked.
struct CheckedConversation: Sendable {
  let messages: [Message]
  let tools: [JSONValue]

  /// A message with its role understood and its place in the flow of tool calls.
  struct Message: Sendable {
    let role: ChatRole
    let base: ChatMessage
    /// For a tool result: the call it answers.
    let answeredCall: NumberedCall?
    /// For an assistant message: its calls, numbered over the whole conversation.
    let calls: [NumberedCall]

    var content: String { base.content }
    /// The reasoning the message states, nil when it states none or an empty one.
    var reasoning: String? {
      base.reasoningContent.flatMap { $0.isEmpty ? nil : $0 }
    }
  }

  struct NumberedCall: Sendable {
    let call: ToolCall
    let number: Int
    /// The id of the call, or the one Kimi K2 would give it.
    var id: String { call.id ?? "functions.\(call.name):\(number)" }
  }

  /// Checks roles, the pairing of calls and results, and what only assistants may have.
  init(
    _ messages: [ChatMessage], tools: [JSONValue], template: ChatTemplate
  ) throws(ChatTemplateError) {
    guard !messages.isEmpty else {
      throw ChatTemplateError(.emptyConversation, "the conversation has no messages")
    }
    var checked: [Message] = []
    var openCalls: [NumberedCall] = []
    var callCount = 0
    for (index, message) in messages.enumerated() {
      let role = try Self.role(of: message, at: index, template: template)
      var answeredCall: NumberedCall?
      var calls: [NumberedCall] = []
      switch role {
      case .tool: answeredCall = try Self.takeCall(answeredBy: message, at: index, from: &openCalls)
      case .assistant:
        calls = message.toolCalls.enumerated().map {
          NumberedCall(call: $0.element, number: callCount + $0.offset)
        }
        callCount += calls.count
        openCalls = calls
      case .system, .developer, .user, .pretrain: openCalls = []
      }
      checked.append(
        Message(role: role, base: message, answeredCall: answeredCall, calls: calls))
    }
    let isMixed = checked.contains { $0.role != .pretrain }
    if isMixed, let index = checked.firstIndex(where: { $0.role == .pretrain }) {
      throw ChatTemplateError(
        .invalidRole, "a pretrain message cannot stand among chat messages", messageIndex: index)
    }
    self.messages = checked
    self.tools = tools
  }

  private static func role(
    of message: ChatMessage, at index: Int, template: ChatTemplate
  ) throws(ChatTemplateError) -> ChatRole {
    let allowed = template.roles
    guard let role = ChatRole(rawValue: message.role), allowed.contains(role) else {
      let known = allowed.map(\.rawValue).joined(separator: ", ")
      throw ChatTemplateError(
        .invalidRole,
        "role \"\(message.role)\" is unknown to \(template.name), which has \(known)",
        messageIndex: index)
    }
    if role == .developer, template.developerIsSystem { return .system }
    if role != .assistant, !message.toolCalls.isEmpty {
      throw ChatTemplateError(
        .unsupportedTools, "a \(role.rawValue) message has tool calls; only assistants call tools",
        messageIndex: index)
    }
    if role != .assistant, message.reasoningContent.map({ !$0.isEmpty }) ?? false {
      throw ChatTemplateError(
        .unsupportedReasoning, "a \(role.rawValue) message has reasoning; only assistants reason",
        messageIndex: index)
    }
    return role
  }

  /// Finds the call that a result answers: by id when both sides have one, else the next open one.
  private static func takeCall(
    answeredBy message: ChatMessage, at index: Int, from openCalls: inout [NumberedCall]
  ) throws(ChatTemplateError) -> NumberedCall {
    guard !openCalls.isEmpty else {
      throw ChatTemplateError(
        .unmatchedToolResult,
        "a tool result must follow an assistant message with as many `tool_calls` as results",
        messageIndex: index)
    }
    guard let id = message.toolCallID else { return openCalls.removeFirst() }
    if let match = openCalls.firstIndex(where: { $0.id.isExactly(id) }) {
      return openCalls.remove(at: match)
    }
    if let unnamed = openCalls.firstIndex(where: { $0.call.id == nil }) {
      return openCalls.remove(at: unnamed)
    }
    let ids = openCalls.map { "\"\($0.id)\"" }.joined(separator: ", ")
    throw ChatTemplateError(
      .unmatchedToolResult,
      "the tool result answers call \"\(id)\", but the unanswered calls are \(ids)",
      messageIndex: index)
  }

  /// Whether all messages are raw text for pre-training.
  var isRawText: Bool { messages.allSatisfy { $0.role == .pretrain } }

  /// The index of the last user message that is not a wrapped tool result, or nil.
  var lastQuestion: Int? {
    messages.lastIndex {
      $0.role == .user
        && !($0.content.utf8.starts(with: "<tool_response>".utf8)
          && $0.content.utf8.reversed().starts(with: "</tool_response>".utf8.reversed()))
    }
  }
}

extension ChatTemplate {
  /// The roles that messages of this template may have.
  var roles: [ChatRole] {
    switch format.layout {
    case .turns(let format):
      [.system] + (format.writesDeveloper ? [.developer] : []) + [.user, .assistant]
        + (format.tools == nil ? [] : [.tool]) + [.pretrain]
    case .harmony(let format):
      format.supportsTools
        ? [.system, .developer, .user, .assistant, .tool, .pretrain]
        : [.system, .developer, .user, .assistant, .pretrain]
    }
  }
}

extension ChatTemplate {
  /// Whether a developer message is written as a system message.
  fileprivate var developerIsSystem: Bool {
    if case .turns(let format) = self.format.layout, case .asSystem = format.developer {
      true
    } else {
      false
    }
  }
}

extension TurnFormat {
  fileprivate var writesDeveloper: Bool {
    if case .refused = developer { false } else { true }
  }
}

/// Collects pieces of text, joining neighbours that agree about the loss.
struct SegmentBuilder: Sendable {
  private(set) var segments: [ChatSegment] = []

  mutating func append(_ text: String, loss: Bool = false) {
    guard !text.isEmpty else { return }
    if let last = segments.indices.last, segments[last].carriesLoss == loss {
      segments[last].text += text
    } else {
      segments.append(ChatSegment(text: text, carriesLoss: loss))
    }
  }
}
