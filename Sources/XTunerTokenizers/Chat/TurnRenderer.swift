/// Renders formats whose turns follow each other between marks: ChatML, DeepSeek, Kimi.
struct TurnRenderer {
  let name: String
  let format: TurnFormat
  let conversation: CheckedConversation
  let purpose: RenderPurpose
  var output = SegmentBuilder()
  /// What `opensSectionsOnce` has to remember.
  var hasOpenedCalls = false
  var hasOpenedResults = false

  init(
    name: String, format: TurnFormat, conversation: CheckedConversation, purpose: RenderPurpose
  ) {
    self.name = name
    self.format = format
    self.conversation = conversation
    self.purpose = purpose
  }

  var messages: [CheckedConversation.Message] { conversation.messages }

  mutating func render() throws(ChatTemplateError) -> [ChatSegment] {
    try check()
    try appendOpening()
    for (index, message) in messages.enumerated() {
      switch message.role {
      case .system: appendSystem(message, isFirst: index == 0)
      case .developer: appendDeveloper(message)
      case .user: append(message, marks: format.user, loss: message.base.loss ?? false)
      case .assistant: try appendAnswer(message, at: index)
      case .tool: appendToolResult(message, at: index)
      case .pretrain: break  // CheckedConversation lets none come here.
      }
      appendHeader(behind: message)
    }
    try appendGenerationPrompt()
    return output.segments
  }

  private func check() throws(ChatTemplateError) {
    let firstSpeaker = messages.firstIndex { $0.role != .system && $0.role != .developer }
    if let index = firstSpeaker, messages[index].role == .assistant, !format.allowsAssistantFirst {
      throw ChatTemplateError(
        .invalidRole, "\(name) needs a user message before the first assistant message",
        messageIndex: index)
    }
    for (index, message) in messages.enumerated() {
      if message.reasoning != nil, format.thinking == nil {
        throw ChatTemplateError(
          .unsupportedReasoning,
          "\(name) has no place for reasoning; remove `reasoning_content` or use another template",
          messageIndex: index)
      }
      if !message.calls.isEmpty, format.tools == nil || cannotTrainCalls {
        throw ChatTemplateError(
          .unsupportedTools, "\(name) has no place for tool calls", messageIndex: index)
      }
    }
  }

  private var cannotTrainCalls: Bool { purpose == .training && format.tools?.calls == nil }

  // MARK: - Opening and system

  private mutating func appendOpening() throws(ChatTemplateError) {
    output.append(format.bos)
    try appendDeclarationTurn()
    switch format.system {
    case .prologue:
      let systems = messages.filter { $0.role == .system }
      for (index, system) in systems.enumerated() {
        if index > 0 { output.append("\n\n") }
        output.append(system.content, loss: system.base.loss ?? false)
      }
    case .turn(let marks, let fallback):
      guard messages[0].role != .system else { return }
      let declarations = declarationsInSystemTurn(hasSystemText: fallback != nil)
      guard fallback != nil || !declarations.isEmpty else { return }
      output.append("\(marks.open)\(marks.name)\(marks.close)\(fallback ?? "")\(declarations)")
      output.append("\(marks.stop)\(marks.separator)")
    }
  }

  private mutating func appendSystem(_ message: CheckedConversation.Message, isFirst: Bool) {
    guard case .turn(let marks, _) = format.system else { return }
    let declarations = isFirst ? declarationsInSystemTurn(hasSystemText: true) : ""
    append(message, marks: marks, suffix: declarations, loss: message.base.loss ?? false)
  }

  private mutating func appendDeveloper(_ message: CheckedConversation.Message) {
    guard case .turn(let marks) = format.developer else { return }
    append(message, marks: marks, loss: message.base.loss ?? false)
  }

  /// Writes one turn with its marks; content and stop token share the loss.
  private mutating func append(
    _ message: CheckedConversation.Message, marks: TurnMarks, suffix: String = "", loss: Bool
  ) {
    output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    output.append("\(message.content)\(suffix)\(marks.stop)", loss: loss)
    output.append(marks.separator)
  }

  func word(of message: CheckedConversation.Message, marks: TurnMarks) -> String {
    guard format.namesReplaceRoles, let name = message.base.name, !name.isEmpty else {
      return marks.name
    }
    return name
  }
}
