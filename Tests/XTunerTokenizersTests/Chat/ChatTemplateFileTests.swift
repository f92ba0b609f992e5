import Foundation
import Testing
import XTunerTokenizers

struct ChatTemplateFileTests {
  private func folder(_ files: [String: String]) throws -> String {
    let folder = try Fixture.temporaryFolder()
    for (name, text) in files {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
    }
    return folder
  }

  private func choice(
    _ files: [String: String], named name: String? = nil, fallback: String? = nil
  ) throws -> ChatTemplateChoice {
    try ChatTemplateChoice(named: name, folders: [folder(files)], fallback: fallback)
  }

  private func failure(_ files: [String: String]) throws -> ChatTemplateError? {
    #expect(throws: ChatTemplateError.self) { try choice(files) }
  }

  private static func text(_ name: String) throws -> String {
    try #require(try ChatTemplate.named(name).jinjaTemplate)
  }

  @Test(arguments: ["chatml", "qwen3", "qwen3-2507"])
  func ownTextsAreRecognisedInEveryFile(_ name: String) throws {
    let text = try Self.text(name)
    let quoted = JSONValue.string(text).text()
    let places = [
      ["chat_template.jinja": text],
      ["tokenizer_config.json": "{\"chat_template\": \(quoted)}"],
      [
        "tokenizer_config.json": """
        {"chat_template": [{"name": "rag", "template": "x"},
          {"name": "default", "template": \(quoted)}]}
        """
      ],
      ["tokenizer_config.json": "{}", "chat_template.json": "{\"chat_template\": \(quoted)}"],
    ]
    for files in places {
      let found = try choice(files)
      #expect(found.template?.name == name)
      #expect(found.file?.text == text)
      #expect(found.keepsFile)
    }
  }

  /// What the published texts mention, of which none is committed here.
  @Test(arguments: [
    (#"<|im_start|><tool_call>\n{"name": "enable_thinking reasoning_content"#, "qwen3"),
    (
      #"<|im_start|><tool_call>\n{"name": "last_query_index assistant\n<think>\n"#,
      "qwen3-2507-thinking"
    ),
    (#"<|im_start|><tool_call>\n{"name": "#, nil),
    (#"<|im_start|><tool_call>\n{"name": ""#, "qwen3-2507"),
    ("<|im_start|><|im_end|>", "chatml"),
    ("<|start|><|channel|>analysis<|message|>strftime_now<|return|>", "gpt-oss"),
    ("'<\u{FF5C}Assistant\u{FF5C}><think>\\n' 'tool_calls' in message", "deepseek-r1"),
    ("+ '<\u{FF5C}Assistant\u{FF5C}>' is_last_user split('</think>')[-1]", "deepseek-r1-0528"),
    ("+ '<\u{FF5C}Assistant\u{FF5C}>' is_last_user", "deepseek-v3"),
    ("<\u{FF5C}Assistant\u{FF5C}></think> thinking", "deepseek-v3.1"),
    ("<|im_middle|><think></think>hist_msgs", "kimi-k2-thinking"),
    ("[INST]", nil),
  ])
  func publishedTextsAreToldByWhatTheyMention(_ text: String, _ name: String?) {
    #expect(ChatTemplate.recognized(jinja: text)?.template.name == name)
  }

  /// Qwen3-Coder, Qwen2.5, Qwen3-VL, Intern-S1 and later Qwen mention ChatML's tokens too.
  @Test(arguments: [
    "<function=", "You are Qwen, created by", "<|vision_start|>", "<|action_start|><|plugin|>",
    "content | trim", "{% generation %}",
  ])
  func nearlyTheRightTextIsNotRecognised(_ mark: String) throws {
    for name in ["chatml", "qwen3", "qwen3-2507"] {
      #expect(ChatTemplate.recognized(jinja: try Self.text(name) + mark) == nil, "\(name)")
    }
  }

  @Test func aFolderOfAnUnknownFamilyLeavesItOpenWithTheNamesToChooseFrom() throws {
    let found = try choice(["chat_template.jinja": "[INST]"], fallback: "qwen3")
    #expect(found.template == nil)
    #expect(found.reason.hasSuffix("chat_template.jinja is of no family known here"))
    #expect(found.advice.contains("; name one of chatml, qwen3, "))
  }

  @Test func aNamedTemplateKeepsTheFileOnlyWhereItIsTheSame() throws {
    let files = ["chat_template.jinja": try Self.text("qwen3-2507")]
    #expect(try choice(files, named: "qwen3-2507").keepsFile)
    let other = try choice(files, named: "qwen3")
    #expect(!other.keepsFile)
    #expect(other.reason.contains("has that of qwen3-2507"))
    #expect(try choice([:], fallback: "qwen3").template?.name == "qwen3")
  }

  @Test func damagedFilesAreNamedWithTheirFault() throws {
    let bytes = try folder([:])
    try Data([0x68, 0xFF]).write(to: URL(fileURLWithPath: "\(bytes)/chat_template.jinja"))
    let notText = #expect(throws: ChatTemplateError.self) {
      try ChatTemplateFile(folder: bytes)
    }
    #expect(
      notText?.message.hasSuffix("chat_template.jinja: is not UTF-8 text, first at byte 1") == true)
    let broken = try failure(["tokenizer_config.json": "{"])
    #expect(broken?.message.contains("tokenizer_config.json: is not JSON: line 1") == true)
    let wrong = try failure(["tokenizer_config.json": "{\"chat_template\": 5}"])
    #expect(wrong?.message.contains("must be a text or a list of objects") == true)
    #expect(wrong?.code == .unreadableTemplate)
  }
}
