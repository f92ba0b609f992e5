extension ChatTemplate {
  /// The template that writes conversations as a published Jinja text does, and by which marks in the
  /// text it was told; nil for a text of no family known here.
  ///
  /// The texts of a family differ in small ways between releases, so they are told by what they
  /// mention. A mark of another family, or of a rule that is not followed here, such as a system
  /// text of the template's own, speaks against it: better none than nearly the right one.
  public static func recognized(
    jinja text: String
  ) -> (template: ChatTemplate, evidence: String)? {
    let templates = names.compactMap { try? named($0) }
    if let own = templates.first(where: {
      $0.jinjaTemplate.map { $0.utf8.elementsEqual(text.utf8) } == true
    }) {
      return (own, "its text, which this program wrote")
    }
    for rule in recognitionRules where rule.matches(text) {
      guard let template = templates.first(where: { $0.name == rule.name }) else { continue }
      return (template, rule.marks.map(shown).joined(separator: ", "))
    }
    return nil
  }

  private static func shown(_ mark: String) -> String {
    mark.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\\n")
  }

  private struct RecognitionRule: Sendable {
    var name: String
    /// All of these are in the text.
    var marks: [String]
    /// None of these is.
    var foreign: [String]

    func matches(_ text: String) -> Bool {
      // Variants for training mark what is learned, and write more than the published text.
      text.firstCut(at: "generation %}") == nil
        && marks.allSatisfy { text.firstCut(at: $0) != nil }
        && foreign.allSatisfy { text.firstCut(at: $0) == nil }
    }
  }

  // A call as Qwen writes it, in a Jinja text with its escapes.
  private static let hermesCall = #"<tool_call>\n{"name": ""#

  /// Marks of formats that use ChatML's tokens in another way: calls as XML, pictures, InternLM's
  /// plugins, trimmed contents, an effort, a system text that is put in when there is none.
  private static let otherChatML = [
    "<function=", "<|vision_start|>", "<|action_start|>", "<|channel|>", "<|im_middle|>",
    "reasoning_effort", "|trim", "| trim", "You are a", "You are Qwen", "\u{4F60}\u{662F}",
  ]

  private static let recognitionRules: [RecognitionRule] = [
    RecognitionRule(
      name: "qwen3",
      marks: ["<|im_start|>", hermesCall, "enable_thinking", "reasoning_content"],
      foreign: otherChatML),
    RecognitionRule(
      name: "qwen3-2507-thinking",
      marks: ["<|im_start|>", hermesCall, "last_query_index", #"assistant\n<think>\n"#],
      foreign: otherChatML + ["enable_thinking"]),
    RecognitionRule(
      name: "qwen3-2507", marks: ["<|im_start|>", hermesCall],
      foreign: otherChatML + ["<think>", "</think>"]),
    RecognitionRule(
      name: "chatml", marks: ["<|im_start|>", "<|im_end|>"],
      foreign: otherChatML + ["<tool_call>", "think>", "You are", "tools"]),
    RecognitionRule(
      name: "gpt-oss",
      marks: ["<|start|>", "<|channel|>analysis<|message|>", "strftime_now", "<|return|>"],
      foreign: []),
    RecognitionRule(
      name: "deepseek-v3.1", marks: ["<\u{FF5C}Assistant\u{FF5C}></think>", "thinking"],
      foreign: ["for tool in tools", "DSML"]),
    RecognitionRule(
      name: "deepseek-r1",
      marks: [#"<\#u{FF5C}Assistant\#u{FF5C}><think>\n"#, "'tool_calls' in message"],
      foreign: ["for tool in tools", "enable_thinking"]),
    RecognitionRule(
      name: "deepseek-r1-0528",
      marks: ["+ '<\u{FF5C}Assistant\u{FF5C}>'", "is_last_user", "split('</think>')[-1]"],
      foreign: ["for tool in tools", "enable_thinking", "<think>"]),
    RecognitionRule(
      name: "deepseek-v3", marks: ["+ '<\u{FF5C}Assistant\u{FF5C}>'", "is_last_user"],
      foreign: ["for tool in tools", "think"]),
    RecognitionRule(
      name: "kimi-k2-thinking", marks: ["<|im_middle|>", "<think></think>", "hist_msgs"],
      foreign: []),
    RecognitionRule(
      name: "kimi-k2", marks: ["<|im_middle|>", "# Tools", "<|tool_calls_section_begin|>"],
      foreign: ["think>"]),
    RecognitionRule(
      name: "kimi-k2-first", marks: ["<|im_middle|>", "You are a helpful assistant"],
      foreign: ["think>", "<|tool_calls_section_begin|>"]),
  ]
}
