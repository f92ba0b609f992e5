import Testing
import XTunerTokenizers

struct ChatTemplateErrorTests {
  private func error(
    _ name: String, _ messages: [ChatMessage], tools: [JSONValue] = []
  ) throws -> ChatTemplateError? {
    let template = try ChatTemplate.named(name)
    return #expect(throws: ChatTemplateError.self) {
      try template.segments(messages, tools: tools)
    }
  }

  @Test func unknownNameSuggestsTheNearest() {
    let error = #expect(throws: ChatTemplateError.self) { try ChatTemplate.named("Qwen-3") }
    #expect(error?.code == .unknownTemplate)
    #expect(error?.description.contains("did you mean \"qwen3\"?") == true)
    #expect(error?.description.contains("kimi-k2-thinking") == true)
  }

  @Test func emptyConversationIsRefused() throws {
    #expect(try error("qwen3", [])?.code == .emptyConversation)
  }

  @Test func unknownRoleNamesTheMessage() throws {
    let error = try error("qwen3", [user("a"), ChatMessage(role: "bot", content: "b")])
    #expect(error?.messageIndex == 1)
    #expect(
      error?.description
        == "messages[1]: role \"bot\" is unknown to qwen3, which has system, developer, user, "
        + "assistant, tool, pretrain")
  }

  @Test(arguments: ["kimi-k2-first", "qwen3-xtuner", "intern-s1", "deepseek-v3-xtuner"])
  func aDeveloperIsRefusedWhereTheTextWritesNoMarksForOne(_ name: String) throws {
    let messages = [ChatMessage(role: "developer", content: "x"), user("a"), assistant("b")]
    #expect(try error(name, messages)?.code == .invalidRole)
  }

  @Test func deepSeekR1DropsNoTextBesideLaterCalls() throws {
    let call = ToolCall(name: "f", arguments: [:])
    let result = ChatMessage(role: "tool", content: "4")
    let messages = [
      user("q"), assistant("a", calls: [call]), result, assistant("b", calls: [call]),
    ]
    let error = try error("deepseek-r1", messages)
    #expect(error?.code == .unsupportedTools)
    #expect(error?.messageIndex == 3)
    #expect(error?.message.contains("deepseek-r1-0528") == true)
  }

  @Test(arguments: ["deepseek-v3", "qwen3-xtuner", "intern-s1"])
  func assistantCannotSpeakFirst(_ name: String) throws {
    let system = ChatMessage(role: "system", content: "s")
    let error = try error(name, [system, assistant("b")])
    #expect(error?.code == .invalidRole)
    #expect(error?.messageIndex == 1)
  }

  @Test func resultWithoutCallIsRefused() throws {
    let result = ChatMessage(role: "tool", content: "4", toolCallID: "c9")
    #expect(try error("qwen3", [user("a"), result])?.code == .unmatchedToolResult)

    let call = ToolCall(id: "c1", name: "f", arguments: [:])
    let error = try error("qwen3", [user("a"), assistant("", calls: [call]), result])
    #expect(error?.messageIndex == 2)
    #expect(error?.description.contains("call \"c9\", but the unanswered calls are \"c1\"") == true)
  }

  @Test func oneCallHasOneResult() throws {
    let call = ToolCall(name: "f", arguments: [:])
    let result = ChatMessage(role: "tool", content: "4")
    let error = try error("kimi-k2", [user("a"), assistant("", calls: [call]), result, result])
    #expect(error?.messageIndex == 3)
  }

  @Test(arguments: ["chatml", "qwen3-2507", "deepseek-v3", "kimi-k2", "intern-s1"])
  func reasoningNeedsAFamilyThatReasons(_ name: String) throws {
    let error = try error(name, [user("a"), assistant("b", reasoning: "r")])
    #expect(error?.code == .unsupportedReasoning)
    #expect(error?.messageIndex == 1)
  }

  @Test func onlyAssistantsReasonAndCall() throws {
    let thinker = ChatMessage(role: "user", content: "a", reasoningContent: "r")
    #expect(try error("qwen3", [thinker])?.code == .unsupportedReasoning)
    let caller = ChatMessage(
      role: "user", content: "a", toolCalls: [ToolCall(name: "f", arguments: [:])])
    #expect(try error("qwen3", [caller])?.code == .unsupportedTools)
  }

  @Test(arguments: ["chatml", "deepseek-v3.1", "gpt-oss-xtuner"])
  func toolDeclarationsNeedAPlace(_ name: String) throws {
    let tool: JSONValue = ["function": ["name": "f"]]
    #expect(try error(name, [user("a"), assistant("b")], tools: [tool])?.code == .unsupportedTools)
  }

  @Test func firstKimiTemplateCannotTrainCalls() throws {
    let call = ToolCall(name: "f", arguments: [:])
    let error = try error("kimi-k2-first", [user("a"), assistant("", calls: [call])])
    #expect(error?.code == .unsupportedTools)
  }

  @Test func gptOSSRefusesWhatItsTemplateWouldDrop() throws {
    let call = ToolCall(name: "f", arguments: [:])
    let system = ChatMessage(role: "system", content: "s")
    #expect(
      try error("gpt-oss", [user("a"), assistant("", calls: [call, call])])?.messageIndex == 1)
    #expect(try error("gpt-oss", [user("a"), system])?.code == .invalidRole)
    #expect(
      try error("gpt-oss", [user("a"), assistant("x", reasoning: "r", calls: [call])])?.code
        == .unsupportedReasoning)
  }

  @Test(arguments: [
    "deepseek-r1", "deepseek-r1-0528", "gpt-oss", "kimi-k2-thinking", "qwen3-2507-thinking",
  ])
  func thinkingCannotBeSwitchedOff(_ name: String) throws {
    let template = try ChatTemplate.named(name)
    let error = #expect(throws: ChatTemplateError.self) {
      try template.render([user("a")], addGenerationPrompt: true, enableThinking: false)
    }
    #expect(error?.code == .unsupportedSetting)
  }

  @Test func dateIsAGPTOSSSetting() {
    let error = #expect(throws: ChatTemplateError.self) {
      try ChatTemplate.named("qwen3").configured(currentDate: "2025-01-01")
    }
    #expect(error?.code == .unsupportedSetting)
  }

  @Test func rawTextDoesNotMixWithChat() throws {
    let error = try error("qwen3", [user("a"), ChatMessage(role: "pretrain", content: "b")])
    #expect(error?.messageIndex == 1)
  }
}
