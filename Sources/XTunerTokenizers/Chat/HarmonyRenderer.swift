import FoundationEssentials

/// What gpt-oss is told in its system message.
struct HarmonySettings: Sendable {
  var currentDate: String
  var reasoningEffort = ReasoningEffort.medium

  /// Takes today's date in UTC.
  init() {
    currentDate = Date.now.formatted(.iso8601.year().month().day())
  }
}

/// Renders gpt-oss conversations: messages on the channels analysis, commentary and final.
struct HarmonyRenderer {
  let name: String
  let format: HarmonyFormat
  let settings: HarmonySettings
  let conversation: CheckedConversation
  let purpose: RenderPurpose
  private var output = SegmentBuilder()

  init(
    name: String, format: HarmonyFormat, settings: HarmonySettings,
    conversation: CheckedConversation, purpose: RenderPurpose
  ) {
    self.name = name
    self.format = format
    self.settings = settings
    self.conversation = conversation
    self.purpose = purpose
  }

  private var messages: [CheckedConversation.Message] { conversation.messages }

  mutating func render() throws(ChatTemplateError) -> [ChatSegment] {
    try checkThinkingSwitch()
    let bodyStart = try appendOpening()
    for (index, message) in messages.enumerated().dropFirst(bodyStart) {
      switch message.role {
      case .system:
        throw ChatTemplateError(
          .invalidRole, "\(name) accepts a system message only as the first message",
          messageIndex: index)
      case .developer:
        throw ChatTemplateError(
          .invalidRole, "\(name) accepts one developer message, before all others",
          messageIndex: index)
      case .user:
        output.append("<|start|>user<|message|>")
        output.append("\(message.content)<|end|>", loss: message.base.loss ?? false)
      case .assistant: try appendAnswer(message, at: index)
      case .tool: appendToolResult(message)
      case .pretrain: break  // CheckedConversation lets none come here.
      }
    }
    if case .prompt(addsGenerationPrompt: true, _) = purpose { output.append("<|start|>assistant") }
    return output.segments
  }

  private func checkThinkingSwitch() throws(ChatTemplateError) {
    guard case .prompt(addsGenerationPrompt: true, enablesThinking: false) = purpose else { return }
    throw ChatTemplateError(
      .unsupportedSetting,
      "\(name) always thinks; set the reasoning effort to low instead of switching thinking off")
  }

  // MARK: - System and developer

  /// Writes the blocks before the first turn and returns the index of the message after them.
  private mutating func appendOpening() throws(ChatTemplateError) -> Int {
    if !conversation.tools.isEmpty, !format.supportsTools {
      throw ChatTemplateError(
        .unsupportedTools, "\(name) has no place for tool declarations; use \"gpt-oss\"")
    }
    let first = messages[0]
    switch format.system {
    case .developerBlock:
      appendDefaultSystem()
      let hasInstructions = first.role == .system || first.role == .developer
      try appendDeveloper(hasInstructions ? first : nil)
      return hasInstructions ? 1 : 0
    case .systemBlock where first.role == .system:
      output.append("<|start|>system<|message|>")
      output.append("\(first.content)<|end|>", loss: first.base.loss ?? false)
      guard messages.count > 1, messages[1].role == .developer else { return 1 }
      try appendDeveloper(messages[1])
      return 2
    case .systemBlock:
      appendDefaultSystem()
      guard first.role == .developer else { return 0 }
      try appendDeveloper(first)
      return 1
    }
  }

  private mutating func appendDefaultSystem() {
    let toolNotice =
      conversation.tools.isEmpty
      ? "" : "\nCalls to these tools must go to the commentary channel: 'functions'."
    output.append(
      """
      <|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
      Knowledge cutoff: 2024-06
      Current date: \(settings.currentDate)

      Reasoning: \(settings.reasoningEffort.rawValue)

      # Valid channels: analysis, commentary, final. Channel must be included for every \
      message.\(toolNotice)<|end|>
      """)
  }

  private mutating func appendDeveloper(
    _ message: CheckedConversation.Message?
  ) throws(ChatTemplateError) {
    let instructions = message?.content ?? ""
    guard !instructions.isEmpty || !conversation.tools.isEmpty else { return }
    output.append("<|start|>developer<|message|>")
    let loss = message?.base.loss ?? false
    if !instructions.isEmpty { output.append("# Instructions\n\n\(instructions)\n\n", loss: loss) }
    if !conversation.tools.isEmpty {
      output.append("# Tools\n\n\(try HarmonyToolListing.text(of: conversation.tools))", loss: loss)
    }
    output.append("<|end|>", loss: loss)
  }

  // MARK: - Answers

  private mutating func appendAnswer(
    _ message: CheckedConversation.Message, at index: Int
  ) throws(ChatTemplateError) {
    let loss = message.base.loss ?? (purpose == .training && index >= learnedStart)
    guard message.calls.isEmpty else { return try appendCall(message, at: index, loss: loss) }
    let isFinal = index == finalAnswer
    output.append("<|start|>assistant")
    if isFinal, let reasoning = message.reasoning {
      output.append(
        "<|channel|>analysis<|message|>\(reasoning)<|end|><|start|>assistant", loss: loss)
    }
    let returns = format.returnsOnLoss ? loss : isFinal
    let stop = returns ? "<|return|>" : "<|end|>"
    output.append("<|channel|>final<|message|>\(message.content)\(stop)", loss: loss)
  }

  private mutating func appendCall(
    _ message: CheckedConversation.Message, at index: Int, loss: Bool
  ) throws(ChatTemplateError) {
    guard format.supportsTools else {
      throw ChatTemplateError(
        .unsupportedTools, "\(name) has no place for tool calls; use \"gpt-oss\"",
        messageIndex: index)
    }
    guard message.calls.count == 1 else {
      throw ChatTemplateError(
        .unsupportedTools,
        "\(name) makes one tool call in a message, this one has \(message.calls.count)",
        messageIndex: index)
    }
    guard message.reasoning == nil || message.content.isEmpty else {
      throw ChatTemplateError(
        .unsupportedReasoning,
        "\(name) writes content before a tool call as reasoning; this message has both",
        messageIndex: index)
    }
    let analysis = message.reasoning ?? message.content
    output.append("<|start|>assistant")
    if !analysis.isEmpty, showsAnalysis(beforeCallAt: index) {
      output.append(
        "<|channel|>analysis<|message|>\(analysis)<|end|><|start|>assistant", loss: loss)
    }
    let call = message.calls[0].call
    output.append(" to=functions.\(call.name)<|channel|>commentary json<|message|>", loss: loss)
    output.append("\(call.argumentsText)<|call|>", loss: loss)
  }

  private mutating func appendToolResult(_ message: CheckedConversation.Message) {
    let tool = message.answeredCall?.call.name ?? ""
    output.append("<|start|>functions.\(tool) to=assistant<|channel|>commentary<|message|>")
    output.append(
      "\(JSONValue.string(message.content).text())<|end|>", loss: message.base.loss ?? false)
  }

  /// A prompt drops the analysis before a call once a final answer follows; training keeps that of
  /// the last round.
  private func showsAnalysis(beforeCallAt index: Int) -> Bool {
    if purpose == .training { return index >= learnedStart }
    return !messages[(index + 1)...].contains { $0.role == .assistant && $0.calls.isEmpty }
  }

  /// The answer that keeps its reasoning and ends with `<|return|>`, if it is one without calls: the
  /// last message, as in the published text.
  private var finalAnswer: Int? {
    switch purpose {
    case .training where format.returnsOnLoss:
      messages.lastIndex { $0.role == .assistant && $0.calls.isEmpty }
    case .prompt(addsGenerationPrompt: true, _): nil
    case .training, .prompt: messages.count - 1
    }
  }

  /// The first message of the round that is learned: what comes after the last question, or with
  /// the format of XTuner V1 after the question of the last answer.
  private var learnedStart: Int {
    let end =
      format.returnsOnLoss
      ? messages.lastIndex { $0.role == .assistant } ?? 0 : messages.count
    let question = messages[..<end].lastIndex { $0.role == .user }
    return question.map { $0 + 1 } ?? 0
  }
}
