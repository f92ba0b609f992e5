import Foundation
public import XTunerTokenizers

/// What the small files of a Hugging Face model folder say about generation.
///
/// A file that is absent or says nothing is no error: checkpoints differ in which they bring.
public struct ModelFolder: Sendable {
  private let base: URL

  /// The folder at `path`; nothing is read yet.
  public init(path: String) {
    base = URL(filePath: path)
  }

  /// The tokens that end an answer: `eos_token_id` of `generation_config.json` and `eos_token` of
  /// `tokenizer_config.json`.
  public func endTokens(tokenizer: Tokenizer) -> Set<Int32> {
    var tokens: Set<Int32> = []
    if let value = json("generation_config.json")?["eos_token_id"] {
      for id in value.arrayValue ?? [value] {
        if let id = id.integerValue.flatMap(Int32.init(exactly:)) { tokens.insert(id) }
      }
    }
    if let value = json("tokenizer_config.json")?["eos_token"],
      let text = value.stringValue ?? value["content"]?.stringValue,
      let id = tokenizer.id(of: text)
    {
      tokens.insert(id)
    }
    return tokens
  }

  /// The Jinja text of `chat_template.jinja` or `tokenizer_config.json`.
  var chatTemplateText: String? {
    let file = base.appending(path: "chat_template.jinja")
    if let text = try? String(contentsOf: file, encoding: .utf8) { return text }
    guard let template = json("tokenizer_config.json")?["chat_template"] else { return nil }
    if let single = template.stringValue { return single }
    // Several templates: a list of names and texts.
    let entries = template.arrayValue ?? []
    let entry = entries.first { $0["name"]?.stringValue == "default" } ?? entries.first
    return entry?["template"]?.stringValue
  }

  private func json(_ name: String) -> JSONValue? {
    let file = base.appending(path: name)
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return nil }
    return try? JSONValue(parsing: text)
  }
}
