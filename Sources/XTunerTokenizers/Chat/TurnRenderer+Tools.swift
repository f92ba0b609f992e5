/// Declarations and results of tools, and what follows them: the prompt for the next answer.
extension TurnRenderer {
  mutating func appendDeclarationTurn() throws(ChatTemplateError) {
    guard !conversation.tools.isEmpty else { return }
    switch format.tools?.declarations {
    case .inSystemTurn: return
    case .ownTurn(let open, let close, let style):
      output.append("\(open)\(JSONValue.array(conversation.tools).text(style: style))\(close)")
    case .unsupported, nil:
      throw ChatTemplateError(
        .unsupportedTools,
        "\(name) has no place for tool declarations; describe the tools in the system message")
    }
  }

  func declarationsInSystemTurn(hasSystemText: Bool) -> String {
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

  mutating func appendToolResult(_ message: CheckedConversation.Message, at index: Int) {
    guard let results = format.tools?.results else { return }
    let isContinued = format.tools?.opensSectionsOnce == true && hasOpenedResults
    let opensGroup = (index == 0 || messages[index - 1].role != .tool) && !isContinued
    output.append(opensGroup ? results.groupOpen : results.groupSeparator)
    hasOpenedResults = true
    let marks = results.marks
    output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    if let heading = results.idHeading {
      let id = message.base.toolCallID ?? message.answeredCall?.id ?? ""
      output.append("\(heading.before)\(id)\(heading.after)")
    }
    output.append("\(message.content)\(marks.stop)", loss: message.base.loss ?? false)
    output.append(marks.separator)
    if closesGroup(results, after: index) { output.append(results.groupClose) }
  }

  private func closesGroup(_ results: ToolFormat.ResultFormat, after index: Int) -> Bool {
    guard index + 1 < messages.count else { return true }
    let next = messages[index + 1]
    guard next.role != .tool else { return false }
    switch results.groupEnd {
    case .always: return true
    case .unlessUser: return next.role != .user
    case .beforePlainAnswer: return next.role == .assistant && next.calls.isEmpty
    }
  }

  mutating func appendGenerationPrompt() throws(ChatTemplateError) {
    guard case .prompt(let addsPrompt, let enablesThinking) = purpose, addsPrompt else { return }
    let thinkingPrompt = try thinkingPrompt(enablesThinking: enablesThinking)
    guard needsPromptHeader else { return }
    let marks = format.assistant
    output.append("\(marks.open)\(marks.name)\(marks.close)\(thinkingPrompt)")
  }

  private var needsPromptHeader: Bool {
    switch format.assistantHeader {
    case .always, .unlessAfterTool, .afterUser: writesHeader(at: messages.count)
    case .behindUser:
      // DeepSeek's published texts write none behind tool results.
      !followsHeader(at: messages.count) && speaker(before: messages.count) != .tool
    case .behindUserAndTool: !followsHeader(at: messages.count)
    }
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
