extension ChatFormat {
  /// Every named format, in the order in which `ChatTemplate.names` lists them.
  static let table: [(name: String, format: ChatFormat)] = [
    ("chatml", .chatML(developer: .turn(chatMLMarks("developer")))),
    ("qwen3", .chatML(developer: .asSystem, thinking: .qwen3, tools: .hermes)),
    ("qwen3-2507", .chatML(developer: .asSystem, tools: .hermes)),
    (
      "qwen3-2507-thinking",
      .chatML(developer: .asSystem, thinking: .qwen3ThinkingOnly, tools: .hermes)
    ),
    ("qwen3-xtuner", .trainingChatML(fallback: nil)),
    ("internvl", .chatML(developer: .turn(chatMLMarks("developer")))),
    ("internvl-3.5", .trainingChatML(fallback: internVLSystem)),
    ("intern-s1", .trainingChatML(fallback: internS1System)),
    ("gpt-oss", .gptOSS(.init(system: .developerBlock, supportsTools: true, returnsOnLoss: false))),
    (
      "gpt-oss-xtuner",
      .gptOSS(.init(system: .systemBlock, supportsTools: false, returnsOnLoss: true))
    ),
    ("deepseek-v3", .deepSeek(thinking: nil, tools: .deepSeekV3, header: .behindUser)),
    ("deepseek-v3-xtuner", .deepSeekTraining),
    (
      "deepseek-r1",
      .deepSeek(thinking: .deepSeekR1, tools: .deepSeekR1, header: .unlessAfterTool)
    ),
    (
      "deepseek-r1-0528",
      .deepSeek(thinking: .deepSeekR10528, tools: .deepSeekV3, header: .behindUser)
    ),
    (
      "deepseek-v3.1",
      .deepSeek(thinking: .deepSeekV31, tools: .deepSeekV31, header: .afterUser)
    ),
    ("kimi-k2", .kimi(fallback: kimiSystem, writesDeveloper: true, tools: .kimi)),
    (
      "kimi-k2-first",
      .kimi(fallback: "You are a helpful assistant", writesDeveloper: false, tools: .kimiFirst)
    ),
    (
      "kimi-k2-thinking",
      .kimi(
        fallback: kimiSystem, writesDeveloper: true, thinking: .kimi, tools: .kimiThinking)
    ),
  ]

  private static let kimiSystem = "You are Kimi, an AI assistant created by Moonshot AI."
  private static let internS1System =
    "你是书生大模型，英文名是Intern-S1，是由上海人工智能实验室开发的多模态大语言模型。"
  private static let internVLSystem =
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"

  private static func chatMLMarks(_ role: String) -> TurnMarks {
    TurnMarks(
      open: "<|im_start|>", name: role, close: "\n", stop: "<|im_end|>", separator: "\n")
  }

  private static func chatML(
    fallback: String? = nil, developer: TurnFormat.DeveloperPlacement = .refused,
    header: TurnFormat.AssistantHeader = .always, thinking: ThinkingFormat? = nil,
    tools: ToolFormat? = nil, allowsAssistantFirst: Bool = true
  ) -> ChatFormat {
    ChatFormat(
      layout: .turns(
        TurnFormat(
          system: .turn(chatMLMarks("system"), fallback: fallback), user: chatMLMarks("user"),
          assistant: chatMLMarks("assistant"), developer: developer, assistantHeader: header,
          allowsAssistantFirst: allowsAssistantFirst, thinking: thinking, tools: tools)),
      stopTokens: ["<|im_end|>", "<|endoftext|>"])
  }

  /// ChatML as XTuner V1 trains it: no thinking blocks, each tool result in a turn of its own, and
  /// the assistant's header as part of what comes before an answer.
  private static func trainingChatML(fallback: String?) -> ChatFormat {
    chatML(
      fallback: fallback, header: .behindUserAndTool, tools: .hermesTraining,
      allowsAssistantFirst: false)
  }

  private static func gptOSS(_ format: HarmonyFormat) -> ChatFormat {
    ChatFormat(layout: .harmony(format), stopTokens: ["<|return|>", "<|call|>", "<|endoftext|>"])
  }

  private static let deepSeekBOS = "<｜begin▁of▁sentence｜>"
  private static let deepSeekEOS = "<｜end▁of▁sentence｜>"

  private static func deepSeek(
    thinking: ThinkingFormat?, tools: ToolFormat?, header: TurnFormat.AssistantHeader
  ) -> ChatFormat {
    ChatFormat(
      layout: .turns(
        TurnFormat(
          bos: deepSeekBOS, system: .prologue, user: TurnMarks(open: "<｜User｜>"),
          assistant: TurnMarks(open: "<｜Assistant｜>", stop: deepSeekEOS), developer: .asSystem,
          assistantHeader: header, allowsAssistantFirst: false, thinking: thinking,
          tools: tools)),
      stopTokens: [deepSeekEOS])
  }

  /// As XTuner V1 trains it: the first token belongs to the system message, so that a conversation
  /// without one starts with the user's mark.
  private static let deepSeekTraining = ChatFormat(
    layout: .turns(
      TurnFormat(
        system: .turn(TurnMarks(open: deepSeekBOS), fallback: nil),
        user: TurnMarks(open: "<｜User｜>"),
        assistant: TurnMarks(open: "<｜Assistant｜>", close: "</think>", stop: deepSeekEOS),
        assistantHeader: .behindUserAndTool, allowsAssistantFirst: false)),
    stopTokens: [deepSeekEOS])

  private static func kimi(
    fallback: String, writesDeveloper: Bool, thinking: ThinkingFormat? = nil, tools: ToolFormat
  ) -> ChatFormat {
    func marks(_ open: String, _ name: String) -> TurnMarks {
      TurnMarks(open: open, name: name, close: "<|im_middle|>", stop: "<|im_end|>")
    }
    return ChatFormat(
      layout: .turns(
        TurnFormat(
          system: .turn(marks("<|im_system|>", "system"), fallback: fallback),
          user: marks("<|im_user|>", "user"), assistant: marks("<|im_assistant|>", "assistant"),
          developer: writesDeveloper ? .turn(marks("<|im_system|>", "developer")) : .refused,
          namesReplaceRoles: tools.calls != nil, thinking: thinking, tools: tools)),
      stopTokens: ["<|im_end|>", "[EOS]"])
  }
}

// MARK: - Thinking

extension ThinkingFormat {
  fileprivate static let qwen3 = ThinkingFormat(
    open: "<think>\n", close: "\n</think>\n\n", trimsLineBreaks: true,
    shownInPrompt: .afterLastQuestion, absent: "<think>\n\n</think>\n\n",
    absentPlace: .lastMessage, learnsAbsence: true, embedded: .extracted,
    promptWithoutThinking: "<think>\n\n</think>\n\n")

  fileprivate static let qwen3ThinkingOnly = ThinkingFormat(
    open: "<think>\n", close: "\n</think>\n\n", isOpenPrompted: true, trimsLineBreaks: true,
    shownInPrompt: .afterLastQuestion, absent: "<think>\n\n</think>\n\n",
    absentPlace: .lastMessage, learnsAbsence: true, embedded: .extracted, prompt: "<think>\n")

  fileprivate static let deepSeekR1 = ThinkingFormat(
    open: "<think>\n", close: "\n</think>\n\n", isOpenPrompted: true, trimsLineBreaks: true,
    shownInPrompt: .never, shownInTraining: .lastAnswer, embedded: .removedThroughLast,
    prompt: "<think>\n")

  fileprivate static let deepSeekR10528 = ThinkingFormat(
    open: "<think>\n", close: "\n</think>\n\n", trimsLineBreaks: true, shownInPrompt: .never,
    shownInTraining: .lastAnswer, embedded: .removedEverywhere)

  fileprivate static let deepSeekV31 = ThinkingFormat(
    open: "<think>", close: "</think>", isOpenPrompted: true, shownInPrompt: .never,
    shownInTraining: .lastAnswer, absent: "</think>", embedded: .removedThroughFirst,
    prompt: "<think>",
    promptWithoutThinking: "</think>")

  fileprivate static let kimi = ThinkingFormat(
    open: "<think>", close: "</think>", shownInPrompt: .afterLastAnswerWithoutCalls,
    absent: "<think></think>", learnsAbsence: true, embedded: .kept)
}

// MARK: - Tools

extension ToolFormat {
  fileprivate static let hermes = ToolFormat(
    declarations: .inSystemTurn(lead: ""), calls: .hermes(lead: .lineBreak),
    results: .init(
      groupOpen: "<|im_start|>user",
      marks: TurnMarks(open: "\n<tool_response>\n", stop: "\n</tool_response>"),
      groupClose: "<|im_end|>\n"))

  fileprivate static let hermesTraining = ToolFormat(
    declarations: .inSystemTurn(lead: "\n\n"), calls: .hermes(lead: .lineBreakUnlessBlankLine),
    results: .init(
      marks: TurnMarks(
        open: "<|im_start|>user\n<tool_response>\n", stop: "\n</tool_response><|im_end|>",
        separator: "\n")))

  fileprivate static let deepSeekV3 = ToolFormat(
    declarations: .unsupported,
    calls: .init(
      sectionOpen: "<｜tool▁calls▁begin｜>", open: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
      middle: "\n```json\n", close: "\n```<｜tool▁call▁end｜>", separator: "\n",
      sectionClose: "<｜tool▁calls▁end｜>"),
    results: .init(
      groupOpen: "<｜tool▁outputs▁begin｜>", groupSeparator: "\n", marks: deepSeekResult,
      groupClose: "<｜tool▁outputs▁end｜>", groupEnd: .unlessUser))

  fileprivate static let deepSeekR1 = ToolFormat(
    declarations: .unsupported, calls: deepSeekV3.calls,
    results: .init(
      groupOpen: "<｜tool▁outputs▁begin｜>", marks: deepSeekResult,
      groupClose: "<｜tool▁outputs▁end｜>", groupEnd: .beforePlainAnswer),
    opensSectionsOnce: true)

  fileprivate static let deepSeekV31 = ToolFormat(
    declarations: .unsupported,
    calls: .init(
      sectionOpen: "<｜tool▁calls▁begin｜>", open: "<｜tool▁call▁begin｜>",
      middle: "<｜tool▁sep｜>", close: "<｜tool▁call▁end｜>",
      sectionClose: "<｜tool▁calls▁end｜>"),
    results: .init(marks: deepSeekResult))

  private static let deepSeekResult = TurnMarks(
    open: "<｜tool▁output▁begin｜>", stop: "<｜tool▁output▁end｜>")

  private static let kimiResult = TurnMarks(
    open: "<|im_system|>", name: "tool", close: "<|im_middle|>", stop: "<|im_end|>")

  private static let kimiDeclaration = "<|im_system|>tool_declare<|im_middle|>"

  fileprivate static let kimiFirst = ToolFormat(
    declarations: .ownTurn(open: kimiDeclaration, close: "<|im_end|>", style: .python),
    calls: nil,
    results: .init(marks: kimiResult))

  /// The white space is that of the published instruction-tuned template.
  fileprivate static let kimi = ToolFormat(
    declarations: .ownTurn(
      open: "\(kimiDeclaration)\n  # Tools\n  ", close: "<|im_end|>", style: .python),
    calls: .kimi,
    results: .init(
      marks: kimiResult, idHeading: (before: "## Return of ", after: "\n    ")))

  fileprivate static let kimiThinking = ToolFormat(
    declarations: .ownTurn(open: kimiDeclaration, close: "<|im_end|>", style: .compact),
    calls: .kimi,
    results: .init(marks: kimiResult, idHeading: (before: "## Return of ", after: "\n")))
}

extension ToolFormat.CallFormat {
  fileprivate static func hermes(lead: ToolFormat.Lead) -> ToolFormat.CallFormat {
    .init(
      open: "<tool_call>\n{\"name\": \"", middle: "\", \"arguments\": ",
      close: "}\n</tool_call>", separator: "\n", lead: lead)
  }

  fileprivate static let kimi = ToolFormat.CallFormat(
    sectionOpen: "<|tool_calls_section_begin|>", open: "<|tool_call_begin|>",
    middle: "<|tool_call_argument_begin|>", close: "<|tool_call_end|>",
    sectionClose: "<|tool_calls_section_end|>", usesIDs: true)
}
