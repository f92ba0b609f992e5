public import XTunerTokenizers

extension ChatTemplate {
  /// The template that a model folder asks for, by the text that it brings.
  ///
  /// A folder without a text, as a run from random weights exports it, gets `qwen3` when its
  /// tokenizer knows ChatML's tokens: without a conversation before it, a prompt is then that of
  /// `qwen3-2507` as well.
  ///
  /// - Throws: `GenerationError` where no template can be told, which lists the known ones, or where
  ///   a file cannot be read, which names it.
  public static func detected(
    inFolder folder: String, tokenizer: Tokenizer
  ) throws(GenerationError) -> ChatTemplate {
    let choice: ChatTemplateChoice
    do throws(ChatTemplateError) {
      choice = try ChatTemplateChoice(
        named: nil, folders: [folder], fallback: fallbackName(tokenizer))
    } catch {
      throw GenerationError(.unsupported, error.description)
    }
    guard let template = choice.template else {
      let reason = choice.file == nil ? " and its tokenizer has no <|im_start|>" : ""
      throw GenerationError(.unsupported, "chat template: \(choice.advice)\(reason)")
    }
    return template
  }

  private static func fallbackName(_ tokenizer: Tokenizer) -> String? {
    tokenizer.id(of: "<|im_start|>") == nil || tokenizer.id(of: "<|im_end|>") == nil
      ? nil : "qwen3"
  }
}
