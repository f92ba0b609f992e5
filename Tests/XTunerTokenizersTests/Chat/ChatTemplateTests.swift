import Foundation
import Testing
import XTunerTokenizers

struct ChatTemplateTests {
  @Test(arguments: try RenderCase.load("rendered_prompts.json"))
  func rendersPublishedTemplates(_ example: RenderCase) throws {
    let text = try example.template.render(
      example.messages, tools: example.tools, addGenerationPrompt: example.addsGenerationPrompt,
      enableThinking: example.enablesThinking)
    #expect(text == example.expected)
  }

  /// Conversations made at random, in the words of Jinja and the published texts.
  @Test(arguments: try RenderCase.load("rendered_random.json"))
  func rendersRandomConversationsAsPublished(_ example: RenderCase) throws {
    let text = try example.template.render(
      example.messages, tools: example.tools, addGenerationPrompt: example.addsGenerationPrompt,
      enableThinking: example.enablesThinking)
    #expect(text == example.expected)
  }

  @Test(arguments: try RenderCase.load("rendered_training.json"))
  func marksLossAsXTunerDoes(_ example: RenderCase) throws {
    let segments = try example.template.segments(example.messages, tools: example.tools)
    #expect(segments.marked == example.expected)
  }

  @Test(arguments: try RenderCase.load("rendered_prompts.json"))
  func trainingTextEqualsThePrompt(_ example: RenderCase) throws {
    let dropsCalls = example.template.name == "kimi-k2-first"
    if example.addsGenerationPrompt || (dropsCalls && !example.tools.isEmpty) { return }
    let segments = try example.template.segments(example.messages, tools: example.tools)
    #expect(segments.joined == example.expected)
    #expect(zip(segments, segments.dropFirst()).allSatisfy { $0.carriesLoss != $1.carriesLoss })
  }

  @Test func qwen3LearnsReasoningContentAndStop() throws {
    let template = try ChatTemplate.named("qwen3")
    let segments = try template.segments([
      user("Hi"), assistant("Hello!", reasoning: "dropped"), user("2+2?"),
      assistant("4", reasoning: "sum"),
    ])
    let expected = """
      <|im_start|>user
      Hi<|im_end|>
      <|im_start|>assistant
      ⟦Hello!<|im_end|>⟧
      <|im_start|>user
      2+2?<|im_end|>
      <|im_start|>assistant
      ⟦<think>
      sum
      </think>

      4<|im_end|>⟧

      """
    #expect(segments.marked == expected)
  }

  @Test func anAnswerWithoutReasoningLearnsTheEmptyBlockThatNoPromptHolds() throws {
    let expected = [
      "qwen3": "assistant\n⟦<think>\n\n</think>\n\nHello<|im_end|>⟧\n",
      "qwen3-2507-thinking": "assistant\n<think>\n⟦\n</think>\n\nHello<|im_end|>⟧\n",
      "kimi-k2-thinking": "<|im_middle|>⟦<think></think>Hello<|im_end|>⟧",
      // Both of its prompts end behind a mark of thinking.
      "deepseek-v3.1": "<｜Assistant｜></think>⟦Hello<｜end▁of▁sentence｜>⟧",
    ]
    for (name, suffix) in expected {
      let marked = try ChatTemplate.named(name).segments([user("Hi"), assistant("Hello")]).marked
      #expect(marked.hasSuffix(suffix), "\(name): \(marked)")
    }
  }

  @Test func anAnswerWhoseReasoningIsLeftOutDoesNotLearnTheEmptyBlock() throws {
    let segments = try ChatTemplate.named("kimi-k2-thinking").segments([
      user("a"), assistant("b", reasoning: "hm"), user("c"), assistant("d"),
    ])
    #expect(segments.marked.contains("<|im_middle|><think></think>⟦b<|im_end|>⟧"))
  }

  @Test func agentsOfDeepSeekLearnWhatFollowsThePromptsOfServing() throws {
    let call = ToolCall(name: "f", arguments: .string("{}"))
    let result = ChatMessage(role: "tool", content: "4")
    func marked(_ name: String, call reason: String?, answer: String?) throws -> String {
      try ChatTemplate.named(name).segments([
        user("q"), assistant("", reasoning: reason, calls: [call]), result,
        assistant("a", reasoning: answer),
      ]).marked
    }
    let v31 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
    let v31Call = "\(v31)<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
    let v31Result = "<｜tool▁output▁begin｜>4<｜tool▁output▁end｜>"
    let bos = "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜>"
    // Prompts show no reasoning of the call: the answer behind it is learned, the call is not.
    #expect(
      try marked("deepseek-v3.1", call: "r", answer: nil)
        == "\(bos)</think>\(v31Call)\(v31Result)⟦a<｜end▁of▁sentence｜>⟧")
    // Behind a result no prompt opens the reasoning, so that the model does.
    #expect(
      try marked("deepseek-v3.1", call: nil, answer: "r")
        == "\(bos)</think>⟦\(v31Call)⟧\(v31Result)⟦<think>r</think>a<｜end▁of▁sentence｜>⟧")
    let outputs =
      "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>4<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    for name in ["deepseek-r1", "deepseek-r1-0528"] {
      #expect(
        try marked(name, call: "r", answer: "s").hasSuffix(
          "\(outputs)⟦<think>\ns\n</think>\n\na<｜end▁of▁sentence｜>⟧"))
    }
    // A conversation that ends in the call shows and learns its reasoning.
    let ending = try ChatTemplate.named("deepseek-r1-0528").segments([
      user("q"), assistant("", reasoning: "r", calls: [call]), result,
    ])
    #expect(ending.marked.contains("<｜Assistant｜>⟦<think>\nr\n</think>\n\n<｜tool▁calls▁begin｜>"))
  }

  @Test func qwen3OfXTunerWritesAHeaderBehindEachToolResult() throws {
    let call = ToolCall(name: "f", arguments: .string("{}"))
    let result = ChatMessage(role: "tool", content: "4")
    let text = try ChatTemplate.named("qwen3-xtuner").segments([
      user("q"), assistant("", calls: [call, call]), result, result, assistant("a"),
    ]).marked
    let turn = "<|im_start|>user\n<tool_response>\n4\n</tool_response><|im_end|>\n"
    let header = "<|im_start|>assistant\n"
    #expect(text.hasSuffix("\(turn)\(header)\(turn)\(header)⟦a<|im_end|>⟧\n"))
  }

  @Test func aDeveloperIsWrittenAsTheFamilyDoes() throws {
    let messages = [ChatMessage(role: "developer", content: "x"), user("a")]
    let expected = [
      "chatml": "<|im_start|>developer\nx<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
      "kimi-k2": "<|im_system|>developer<|im_middle|>x<|im_end|><|im_user|>user<|im_middle|>a"
        + "<|im_end|>",
      "qwen3": "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
      "deepseek-v3.1": "<｜begin▁of▁sentence｜>x<｜User｜>a",
    ]
    for (name, suffix) in expected {
      let text = try ChatTemplate.named(name).render(messages)
      #expect(text.hasSuffix(suffix), "\(name): \(text)")
    }
  }

  @Test func argumentsGivenAsTextStayAsTheyAre() throws {
    let call = ToolCall(name: "f", arguments: .string(#"{"x":1e5}"#))
    for name in ["qwen3", "gpt-oss", "deepseek-v3", "kimi-k2"] {
      let text = try ChatTemplate.named(name).render([user("q"), assistant("", calls: [call])])
      #expect(text.contains(#"{"x":1e5}"#), "\(name)")
    }
  }

  @Test func promptedThinkMarkIsNotLearned() throws {
    let conversation = [user("Hi"), assistant("Hello", reasoning: "\nhm\n")]
    let expected = [
      "qwen3-2507-thinking": "assistant\n<think>\n⟦hm\n</think>\n\nHello<|im_end|>⟧\n",
      "deepseek-r1": "<｜Assistant｜><think>\n⟦hm\n</think>\n\nHello<｜end▁of▁sentence｜>⟧",
      "deepseek-r1-0528": "<｜Assistant｜>⟦<think>\nhm\n</think>\n\nHello<｜end▁of▁sentence｜>⟧",
      "deepseek-v3.1": "<｜Assistant｜><think>⟦\nhm\n</think>Hello<｜end▁of▁sentence｜>⟧",
      "kimi-k2-thinking": "<|im_middle|>⟦<think>\nhm\n</think>Hello<|im_end|>⟧",
    ]
    for (name, suffix) in expected {
      let marked = try ChatTemplate.named(name).segments(conversation).marked
      #expect(marked.hasSuffix(suffix), "\(name): \(marked)")
    }
  }

  @Test func takesReasoningOutOfQwenContent() throws {
    let template = try ChatTemplate.named("qwen3")
    let embedded = try template.render([user("Hi"), assistant("<think>\nhm\n</think>\n\nHello")])
    let separate = try template.render([user("Hi"), assistant("Hello", reasoning: "hm")])
    #expect(embedded == separate)
  }

  @Test(arguments: [
    "deepseek-r1", "deepseek-r1-0528", "deepseek-v3.1", "kimi-k2-thinking", "qwen3-2507-thinking",
  ])
  func reasoningInsideTheContentIsLearned(_ name: String) throws {
    let template = try ChatTemplate.named(name)
    let embedded = try template.segments([user("Hi"), assistant("<think>hm</think>Hello")])
    let separate = try template.segments([user("Hi"), assistant("Hello", reasoning: "hm")])
    #expect(embedded == separate)
    #expect(embedded.marked.contains("hm"))
  }

  @Test func promptsLeaveOutEarlierReasoning() throws {
    for name in ["deepseek-r1", "deepseek-v3.1", "qwen3", "kimi-k2-thinking", "gpt-oss"] {
      let text = try ChatTemplate.named(name).render(
        [user("Hi"), assistant("Hello", reasoning: "secret"), user("2+2?")],
        addGenerationPrompt: true)
      #expect(!text.contains("secret"), "\(name)")
    }
  }

  @Test func deepSeekV31WritesItsHeaderOnlyAfterAQuestion() throws {
    let call = ToolCall(name: "f", arguments: ["a": 1])
    let text = try ChatTemplate.named("deepseek-v3.1").render(
      [
        user("q"), assistant("x", calls: [call]), ChatMessage(role: "tool", content: "4"),
        assistant("a</think>b"), assistant("c"),
      ], addGenerationPrompt: true)
    #expect(
      text == """
        <｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜></think>x<｜tool▁calls▁begin｜>\
        <｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>\
        <｜end▁of▁sentence｜><｜tool▁output▁begin｜>4<｜tool▁output▁end｜>\
        a</think>b<｜end▁of▁sentence｜>c<｜end▁of▁sentence｜>
        """)
  }

  @Test func gptOSSListsToolsAsTheTemplateDoes() throws {
    let tools = try JSONValue(
      parsing: #"""
        [{"function": {"name": "f", "description": "Does.", "parameters": {"properties": {
          "a": {"type": "string", "enum": ["x", "y"], "default": "x"},
          "b": {"type": "array", "items": {"type": "integer"}, "nullable": true},
          "c": {"type": "object", "properties": {"p": {"type": "boolean"}}, "required": ["p"]},
          "d": {"oneOf": [{"type": "string", "default": "k"}, {"type": ["null", "object"]}]},
          "e": {"type": "integer", "description": "count", "default": 3}}, "required": ["e"]}}},
         {"function": {"name": "g", "description": "None."}}]
        """#
    ).arrayValue!
    let text = try ChatTemplate.named("gpt-oss").render([user("q")], tools: tools)
    let listing = text.components(separatedByMark: "namespace functions {\n\n")[1]
      .components(separatedByMark: "} // namespace functions")[0]
    let indent = String(repeating: " ", count: 16)
    #expect(
      listing == """
        // Does.
        type f = (_: {
        a?: "x" | "y", // default: x,
        b?: number[] | null,
        c?: {
        p:\u{20}
        \(indent)boolean},
        d?: string\(indent)    // default: "k" |\u{20}
        null | object,
        // count
        e: number, // default: 3,
        }) => any;

        // None.
        type g = () => any;


        """)
  }

  @Test func keepsCarriageReturnsAndCombiningMarks() throws {
    let text = try ChatTemplate.named("qwen3").render([
      user("a\r\n"), assistant("<think>x</think>\u{301}é\r\n"),
    ])
    #expect(text.unicodeScalars.contains("\u{301}"))
    #expect(
      text.utf8.elementsEqual(
        """
        <|im_start|>user
        a\r
        <|im_end|>
        <|im_start|>assistant
        <think>
        x
        </think>

        \u{301}é\r
        <|im_end|>

        """.utf8))
  }

  @Test func lossOfAMessageOverridesItsRole() throws {
    let template = try ChatTemplate.named("chatml")
    let segments = try template.segments([
      user("Hi", loss: true), assistant("no", loss: false), user("x"), assistant("yes"),
    ])
    #expect(
      segments.marked == """
        <|im_start|>user
        ⟦Hi<|im_end|>⟧
        <|im_start|>assistant
        no<|im_end|>
        <|im_start|>user
        x<|im_end|>
        <|im_start|>assistant
        ⟦yes<|im_end|>⟧

        """)
  }

  @Test func gptOSSLearnsOnlyTheLastRound() throws {
    let call = ToolCall(name: "add", arguments: ["a": 2])
    let template = try ChatTemplate.named("gpt-oss").configured(currentDate: "2025-01-02")
    let segments = try template.segments([
      user("Hi"), assistant("Hello!", reasoning: "gone"), user("2+2?"),
      assistant("", reasoning: "use add", calls: [call]), ChatMessage(role: "tool", content: "4"),
      assistant("It is 4.", reasoning: "done"),
    ])
    let body = segments.marked.components(separatedByMark: "<|start|>user<|message|>Hi")[1]
    #expect(
      body == """
        <|end|><|start|>assistant<|channel|>final<|message|>Hello!<|end|>\
        <|start|>user<|message|>2+2?<|end|><|start|>assistant⟦<|channel|>analysis<|message|>\
        use add<|end|><|start|>assistant to=functions.add<|channel|>commentary json<|message|>\
        {"a": 2}<|call|>⟧<|start|>functions.add to=assistant<|channel|>commentary<|message|>\
        "4"<|end|><|start|>assistant⟦<|channel|>analysis<|message|>done<|end|><|start|>assistant\
        <|channel|>final<|message|>It is 4.<|return|>⟧
        """)
  }

  @Test func theLastMessageOfGPTOSSDecidesAboutTheReturn() throws {
    let call = ToolCall(name: "f", arguments: [:])
    let template = try ChatTemplate.named("gpt-oss")
    let beginning = [user("q"), assistant("a", reasoning: "gone")]
    let question = try template.segments(beginning + [user("r")]).marked
    #expect(
      question.hasSuffix(
        "<|start|>assistant<|channel|>final<|message|>a<|end|><|start|>user<|message|>r<|end|>"))
    #expect(!question.contains("⟦"))
    let ending = try template.segments(
      beginning + [user("r"), assistant("", reasoning: "use f", calls: [call])]
    ).marked
    #expect(!ending.contains("gone") && !ending.contains("<|return|>"))
    #expect(
      ending.hasSuffix(
        "<|start|>assistant⟦<|channel|>analysis<|message|>use f<|end|><|start|>assistant "
          + "to=functions.f<|channel|>commentary json<|message|>{}<|call|>⟧"))
  }

  @Test func effortAndDateAppearInTheSystemBlock() throws {
    let template = try ChatTemplate.named("gpt-oss")
      .configured(currentDate: "2031-07-05", reasoningEffort: .high)
    let text = try template.render([user("Hi")])
    #expect(text.contains("Current date: 2031-07-05\n\nReasoning: high\n"))
    #expect(template.fingerprint == "gpt-oss/2/2031-07-05/high")
    #expect(template.currentDate == "2031-07-05")
    #expect(try ChatTemplate.named("qwen3").currentDate == nil)
  }

  @Test func numbersKimiCallsOverTheConversation() throws {
    let calls = [
      ToolCall(name: "f", arguments: [:]), ToolCall(name: "g", arguments: ["é": ["x", 1.5]]),
    ]
    let text = try ChatTemplate.named("kimi-k2-thinking").render([
      user("q"), assistant("", calls: calls), ChatMessage(role: "tool", content: "1"),
      ChatMessage(role: "tool", content: "2"), assistant("", calls: [calls[0]]),
      ChatMessage(role: "tool", content: "3"),
    ])
    #expect(text.contains("functions.g:1<|tool_call_argument_begin|>{\"é\": [\"x\", 1.5]}"))
    #expect(text.contains("## Return of functions.g:1\n2<|im_end|>"))
    #expect(text.contains("## Return of functions.f:2\n3<|im_end|>"))
  }

  @Test func rawTextIsLearnedWhole() throws {
    let segments = try ChatTemplate.named("deepseek-v3").segments([
      ChatMessage(role: "pretrain", content: "Once")
    ])
    #expect(segments == [ChatSegment(text: "Once", carriesLoss: true)])
  }

  @Test func everyTemplateIsFoundByItsName() throws {
    for name in ChatTemplate.names {
      let template = try ChatTemplate.named(name)
      #expect(template.name == name)
      #expect(!template.stopTokens.isEmpty)
    }
    #expect(Set(ChatTemplate.names).count == ChatTemplate.names.count)
  }
}

extension String {
  fileprivate func components(separatedByMark mark: String) -> [String] {
    guard let range = self.range(of: mark) else { return [self] }
    return [String(self[..<range.lowerBound]), String(self[range.upperBound...])]
  }
}
