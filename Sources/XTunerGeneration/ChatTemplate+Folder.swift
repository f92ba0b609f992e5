public import XTunerTokenizers

extension ChatTemplate {
  /// The template that a model folder asks for: by the Jinja text in `chat_template.jinja` or
  /// `tokenizer_config.json`, of which the ChatML families are told apart by what they mention.
  ///
  /// A folder without a text, as a run exports it, gets `qwen3` when its tokenizer knows ChatML's
  /// tokens: without a conversation before it, a prompt is then that of `qwen3-2507` as well.
  ///
  /// - Throws: `GenerationError` where no template can be told; the message lists the known ones.
  public static func detected(
    inFolder folder: String, tokenizer: Tokenizer
  ) throws(GenerationError) -> ChatTemplate {
    let text = ModelFolder(path: folder).chatTemplateText
    guard let name = text.map(name(ofJinja:)) ?? fallbackName(tokenizer) else {
      throw unknown(folder, "has no chat template and its tokenizer no <|im_start|>")
    }
    do throws(ChatTemplateError) {
      return try named(name)
    } catch {
      throw unknown(folder, "has a chat template of no known family")
    }
  }

  /// The name of the template a Jinja text stands for; empty where it is none of ours.
  static func name(ofJinja text: String) -> String {
    if let own = names.first(where: { (try? named($0))?.jinjaTemplate == text }) { return own }
    guard text.contains("<|im_start|>") else { return "" }
    if text.contains("enable_thinking") { return "qwen3" }
    if text.contains("<think>") { return "qwen3-2507-thinking" }
    return text.contains("<tool_call>") ? "qwen3-2507" : "chatml"
  }

  private static func fallbackName(_ tokenizer: Tokenizer) -> String? {
    tokenizer.id(of: "<|im_start|>") == nil || tokenizer.id(of: "<|im_end|>") == nil
      ? nil : "qwen3"
  }

  private static func unknown(_ folder: String, _ reason: String) -> GenerationError {
    GenerationError(
      .unsupported,
      "\(folder): \(reason); name one of \(names.joined(separator: ", "))")
  }
}
