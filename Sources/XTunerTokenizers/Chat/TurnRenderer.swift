/// Renders formats whose turns follow each other between marks: ChatML, DeepSeek, Kimi.
struct TurnRenderer {
  let name: String
  let format: TurnFormat
  let conversation: CheckedConversation
  let purpose: RenderPurpose
  private var output = SegmentBuilder()

  init(
    name: String, format: TurnFormat, conversation: CheckedConversation, purpose: RenderPurpose
  ) {
    self.name = name
    self.format = format
    self.conversation = conversation
    self.purpose = purpose
  }

  private var messages: [CheckedConversation.Message] { conversation.messages }

  mutating func render() throws(ChatTemplateError) -> [ChatSegment] {
    try check()
    try appendOpening()
    for (index, message) in messages.enumerated() {
      switch message.role {
      case .system: appendSystem(message, isFirst: index == 0)
      case .user: append(message, marks: format.user, loss: message.base.loss ?? false)
      case .assistant: try appendAnswer(message, at: index)
      case .tool: appendToolResult(message, at: index)
      case .developer, .pretrain: break  // CheckedConversation lets neither come here.
      }
    }
    try appendGenerationPrompt()
    return output.segments
  }

  private func check() throws(ChatTemplateError) {
    let firstSpeaker = messages.firstIndex { $0.role != .system }
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

  /// Writes one turn with its marks; content and stop token share the loss.
  private mutating func append(
    _ message: CheckedConversation.Message, marks: TurnMarks, suffix: String = "", loss: Bool
  ) {
    output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    output.append("\(message.content)\(suffix)\(marks.stop)", loss: loss)
    output.append(marks.separator)
  }

  private func word(of message: CheckedConversation.Message, marks: TurnMarks) -> String {
    guard format.namesReplaceRoles, let name = message.base.name, !name.isEmpty else {
      return marks.name
    }
    return name
  }

  // MARK: - Answers

  private mutating func appendAnswer(
    _ message: CheckedConversation.Message, at index: Int
  ) throws(ChatTemplateError) {
    let marks = format.assistant
    let hasHeader = needsHeader(at: index)
    if hasHeader {
      output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    }
    let answer = try answer(of: message, at: index, hasHeader: hasHeader)
    let loss = message.base.loss ?? true
    output.append(answer.scaffold)
    output.append("\(answer.text)\(callsText(of: message, after: answer.content))", loss: loss)
    output.append(marks.stop, loss: loss)
    output.append(marks.separator)
  }

  /// Whether an answer at an index opens a turn of its own.
  private func needsHeader(at index: Int) -> Bool {
    switch format.assistantHeader {
    case .always: true
    case .unlessAfterTool: speaker(before: index) != .tool
    case .afterUser: speaker(before: index) == .user
    }
  }

  private func speaker(before index: Int) -> ChatRole? {
    messages[..<index].last { $0.role != .system }?.role
  }

  private struct Answer {
    /// What the header of the turn continues with.
    var scaffold = ""
    /// Reasoning and content.
    var text: String
    /// The content as the message has it, which decides about what leads to the first call.
    var content: String
  }

  private func answer(
    of message: CheckedConversation.Message, at index: Int, hasHeader: Bool
  ) throws(ChatTemplateError) -> Answer {
    guard let thinking = format.thinking else {
      return Answer(text: message.content, content: message.content)
    }
    let isPlainAnswer = message.calls.isEmpty && speaker(before: index) != .tool
    let (reasoning, content) = thinking.split(
      message, isPlainAnswer: isPlainAnswer, isTraining: purpose == .training)
    if let text = reasoning, shows(index, thinking) {
      guard hasHeader else {
        throw ChatTemplateError(
          .unsupportedReasoning, "\(name) has no place for reasoning after a tool result",
          messageIndex: index)
      }
      let shown = thinking.trimsLineBreaks ? text.trimmingLineBreaks() : text
      let block = "\(shown)\(thinking.close)\(thinking.trimmed(content))"
      return thinking.isOpenPrompted
        ? Answer(scaffold: thinking.open, text: block, content: content)
        : Answer(text: "\(thinking.open)\(block)", content: content)
    }
    guard hasHeader, showsAbsence(index, thinking) else {
      return Answer(text: content, content: content)
    }
    let text = thinking.absent.isEmpty ? content : thinking.trimmed(content)
    return Answer(scaffold: thinking.absent, text: text, content: content)
  }

  private func shows(_ index: Int, _ thinking: ThinkingFormat) -> Bool {
    if purpose == .training { return index > lastQuestion }
    switch thinking.shownInPrompt {
    case .afterLastQuestion: return index > lastQuestion
    case .afterLastAnswerWithoutCalls:
      let answer = messages.lastIndex { $0.role == .assistant && $0.calls.isEmpty }
      return index > answer ?? -1
    case .never: return false
    }
  }

  private func showsAbsence(_ index: Int, _ thinking: ThinkingFormat) -> Bool {
    switch thinking.absentPlace {
    case .everyAnswer: true
    case .lastMessage: index == messages.count - 1 && index > lastQuestion
    }
  }

  /// Without any question nothing comes after it, as in the published templates.
  private var lastQuestion: Int { conversation.lastQuestion ?? messages.count - 1 }

  private func callsText(
    of message: CheckedConversation.Message, after content: String
  ) -> String {
    guard let calls = format.tools?.calls, !message.calls.isEmpty else { return "" }
    let texts = message.calls.map { numbered in
      let title = calls.usesIDs ? numbered.id : numbered.call.name
      return "\(calls.open)\(title)\(calls.middle)\(numbered.call.argumentsText)\(calls.close)"
    }
    let lead =
      switch calls.lead {
      case .none: ""
      case .lineBreak: content.isEmpty ? "" : "\n"
      case .lineBreakUnlessBlankLine: content.isEmpty || content.endsWithBlankLine ? "" : "\n"
      }
    let body = texts.joined(separator: calls.separator)
    return "\(lead)\(calls.sectionOpen)\(body)\(calls.sectionClose)"
  }
}

// MARK: - Tools

extension TurnRenderer {
  private mutating func appendDeclarationTurn() throws(ChatTemplateError) {
    guard !conversation.tools.isEmpty else { return }
    switch format.tools?.declarations {
    case .inSystemTurn: return
    case .ownTurn(let open, let close):
      output.append("\(open)\(JSONValue.array(conversation.tools).text())\(close)")
    case .unsupported, nil:
      throw ChatTemplateError(
        .unsupportedTools,
        "\(name) has no place for tool declarations; describe the tools in the system message")
    }
  }

  private func declarationsInSystemTurn(hasSystemText: Bool) -> String {
    guard !conversation.tools.isEmpty, case .inSystemTurn(let lead) = format.tools?.declarations
    else { return "" }
    let declarations = conversation.tools.map { "\n\($0.text())" }.joined()
    return """
      \(hasSystemText ? "\n\n" : lead)# Tools

      You may call one or more functions to assist with the user query.

      You are provided with function signatures within <tools></tools> XML tags:
      <tools>\(declarations)
      </tools>

      For each function call, return a json object with function name and arguments within \
      <tool_call></tool_call> XML tags:
      <tool_call>
      {"name": <function-name>, "arguments": <args-json-object>}
      </tool_call>
      """
  }

  private mutating func appendToolResult(_ message: CheckedConversation.Message, at index: Int) {
    guard let results = format.tools?.results else { return }
    let opensGroup = index == 0 || messages[index - 1].role != .tool
    let closesGroup = index == messages.count - 1 || messages[index + 1].role != .tool
    output.append(opensGroup ? results.groupOpen : results.groupSeparator)
    let marks = results.marks
    output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    if let heading = results.idHeading {
      let id = message.base.toolCallID ?? message.answeredCall?.id ?? ""
      output.append("\(heading.before)\(id)\(heading.after)")
    }
    output.append("\(message.content)\(marks.stop)", loss: message.base.loss ?? false)
    output.append(marks.separator)
    if closesGroup { output.append(results.groupClose) }
  }

  private mutating func appendGenerationPrompt() throws(ChatTemplateError) {
    guard case .prompt(let addsPrompt, let enablesThinking) = purpose, addsPrompt else { return }
    let thinkingPrompt = try thinkingPrompt(enablesThinking: enablesThinking)
    guard needsHeader(at: messages.count) else { return }
    let marks = format.assistant
    output.append("\(marks.open)\(marks.name)\(marks.close)\(thinkingPrompt)")
  }

  private func thinkingPrompt(enablesThinking: Bool) throws(ChatTemplateError) -> String {
    guard let thinking = format.thinking else { return "" }
    if enablesThinking { return thinking.prompt }
    guard let prompt = thinking.promptWithoutThinking else {
      throw ChatTemplateError(
        .unsupportedSetting, "\(name) always thinks; thinking cannot be switched off")
    }
    return prompt
  }
}
