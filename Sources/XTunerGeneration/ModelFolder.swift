import Foundation
public import XTunerTokenizers

/// What the small files of a Hugging Face model folder say about generation.
///
/// A file that is absent or says nothing is no error: checkpoints differ in which they bring. One
/// that is there and cannot be understood is.
public struct ModelFolder: Sendable {
  private let path: String

  /// The folder at `path`; nothing is read yet.
  public init(path: String) {
    self.path = path
  }

  /// The tokens that end an answer: `eos_token_id` of `generation_config.json` and `eos_token` of
  /// `tokenizer_config.json`.
  ///
  /// - Throws: `GenerationError` with the file and what is wrong in it.
  public func endTokens(tokenizer: Tokenizer) throws(GenerationError) -> Set<Int32> {
    var tokens: Set<Int32> = []
    if let value = try value("eos_token_id", of: Self.generationName), !value.isNull {
      for id in value.arrayValue ?? [value] {
        guard let id = id.integerValue.flatMap(Int32.init(exactly:)), id >= 0 else {
          throw invalid(
            Self.generationName, "eos_token_id must be a token id or a list of them", value)
        }
        tokens.insert(id)
      }
    }
    if let value = try value("eos_token", of: Self.tokenizerName), !value.isNull {
      guard let text = value.stringValue ?? value["content"]?.stringValue else {
        throw invalid(
          Self.tokenizerName, "eos_token must be a text or an object with `content`", value)
      }
      if let id = tokenizer.id(of: text) { tokens.insert(id) }
    }
    return tokens
  }

  private static let generationName = "generation_config.json"
  private static let tokenizerName = "tokenizer_config.json"

  private func invalid(_ name: String, _ rule: String, _ value: JSONValue) -> GenerationError {
    GenerationError(.unsupported, "\(path)/\(name): \(rule), is \(value.text().prefix(60))")
  }

  private func value(_ key: String, of name: String) throws(GenerationError) -> JSONValue? {
    let file = "\(path)/\(name)"
    guard FileManager.default.fileExists(atPath: file) else { return nil }
    let document: JSONValue
    do {
      document = try JSONValue(parsing: String(contentsOfFile: file, encoding: .utf8))
    } catch let error as JSONError {
      throw GenerationError(.unsupported, "\(file): is not JSON: \(error)")
    } catch {
      throw GenerationError(.unsupported, "\(file): cannot be read as UTF-8 text")
    }
    guard document.objectValue != nil else {
      throw GenerationError(
        .unsupported, "\(file): must hold an object, holds \(document.kindDescription)")
    }
    return document[key]
  }
}

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
