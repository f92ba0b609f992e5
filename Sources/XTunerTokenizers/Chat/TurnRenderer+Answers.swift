/// Answers: headers, reasoning, what is learned, calls.
extension TurnRenderer {
  mutating func appendAnswer(
    _ message: CheckedConversation.Message, at index: Int
  ) throws(ChatTemplateError) {
    let marks = format.assistant
    // Where sections are opened once, later calls continue what is already there.
    let continuesCalls = format.tools?.opensSectionsOnce == true && hasOpenedCalls
    if continuesCalls, !message.calls.isEmpty, !message.content.isEmpty {
      throw ChatTemplateError(
        .unsupportedTools,
        "\(name) has no place for text beside the calls of a second round; remove it, or use "
          + "deepseek-r1-0528", messageIndex: index)
    }
    let writesHeader = writesHeader(at: index) && !(continuesCalls && !message.calls.isEmpty)
    if writesHeader {
      output.append("\(marks.open)\(word(of: message, marks: marks))\(marks.close)")
    }
    let answer = answer(of: message, at: index)
    let loss = message.base.loss ?? !answer.lacksReasoning
    output.append(answer.scaffold)
    output.append("\(answer.text)\(callsText(of: message, after: answer.content))", loss: loss)
    output.append(marks.stop, loss: loss)
    output.append(marks.separator)
    if !message.calls.isEmpty { hasOpenedCalls = true }
  }

  /// Whether an answer at an index starts with the assistant's header.
  func writesHeader(at index: Int) -> Bool {
    switch format.assistantHeader {
    case .always: true
    case .unlessAfterTool: speaker(before: index) != .tool
    case .afterUser: speaker(before: index) == .user
    case .behindUser, .behindUserAndTool: false
    }
  }

  /// Whether an answer at an index follows the assistant's header, so that what ends the generation
  /// prompt stands before it.
  func followsHeader(at index: Int) -> Bool {
    switch format.assistantHeader {
    case .always, .unlessAfterTool, .afterUser: writesHeader(at: index)
    case .behindUser: speaker(before: index) == .user
    case .behindUserAndTool: speaker(before: index) == .user || speaker(before: index) == .tool
    }
  }

  /// Writes the assistant's header where it belongs to the message before the answer.
  mutating func appendHeader(behind message: CheckedConversation.Message) {
    switch (format.assistantHeader, message.role) {
    case (.behindUser, .user), (.behindUserAndTool, .user), (.behindUserAndTool, .tool):
      output.append("\(format.assistant.open)\(format.assistant.name)\(format.assistant.close)")
    default: return
    }
  }

  func speaker(before index: Int) -> ChatRole? {
    messages[..<index].last { $0.role != .system && $0.role != .developer }?.role
  }

  private struct Answer {
    /// What the header of the turn continues with.
    var scaffold = ""
    /// Reasoning and content.
    var text: String
    /// The content as the message has it, which decides about what leads to the first call.
    var content: String
    /// Whether reasoning of the last round is left out, so that the rest should not be learned.
    var lacksReasoning = false
  }

  private func answer(of message: CheckedConversation.Message, at index: Int) -> Answer {
    guard let thinking = format.thinking else {
      return Answer(text: message.content, content: message.content)
    }
    let isPlainAnswer = message.calls.isEmpty && speaker(before: index) != .tool
    let (reasoning, content) = thinking.split(
      message, isPlainAnswer: isPlainAnswer, isTraining: purpose == .training)
    if let text = reasoning, shows(index, thinking) {
      let shown = thinking.trimsLineBreaks ? text.trimmingLineBreaks() : text
      let block = "\(shown)\(thinking.close)\(thinking.trimmed(content))"
      // Without a header there is no prompt that opens the reasoning: the model does it.
      return thinking.isOpenPrompted && followsHeader(at: index)
        ? Answer(scaffold: thinking.open, text: block, content: content)
        : Answer(text: "\(thinking.open)\(block)", content: content)
    }
    let lacksReasoning =
      purpose == .training && reasoning != nil && index > lastQuestion
    guard followsHeader(at: index), showsAbsence(index, thinking) else {
      return Answer(text: content, content: content, lacksReasoning: lacksReasoning)
    }
    let text = thinking.absent.isEmpty ? content : thinking.trimmed(content)
    guard thinking.learnsAbsence, reasoning == nil else {
      return Answer(
        scaffold: thinking.absent, text: text, content: content, lacksReasoning: lacksReasoning)
    }
    let written = thinking.absent.dropFirst(thinking.prompt.count)
    return Answer(scaffold: thinking.prompt, text: "\(written)\(text)", content: content)
  }

  private func shows(_ index: Int, _ thinking: ThinkingFormat) -> Bool {
    if purpose == .training {
      guard index > lastQuestion else { return false }
      switch thinking.shownInTraining {
      case .lastRound: return true
      case .lastAnswer: return index == messages.lastIndex { $0.role == .assistant }
      }
    }
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
    let isContinued = format.tools?.opensSectionsOnce == true && hasOpenedCalls
    let open = isContinued ? calls.separator : calls.sectionOpen
    return "\(lead)\(open)\(body)\(calls.sectionClose)"
  }
}
