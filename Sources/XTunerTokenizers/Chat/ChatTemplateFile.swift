internal import Foundation

/// The text of a model folder's own chat template, in Jinja, and the file that holds it.
public struct ChatTemplateFile: Sendable, Hashable {
  /// The files that may hold it, in order of preference, as transformers has it.
  public static let names = [textName, TokenizerFiles.configurationName, "chat_template.json"]
  /// The file that holds nothing but the text.
  public static let textName = "chat_template.jinja"

  /// Path of the file.
  public let path: String
  /// The Jinja text.
  public let text: String

  /// The name of the file in its folder.
  public var name: String { URL(fileURLWithPath: path).lastPathComponent }

  /// Reads the text that a folder holds; nil where it holds none, or is no folder.
  ///
  /// - Throws: `ChatTemplateError` with the file and what is wrong, where a file is there and cannot
  ///   be read.
  public init?(folder: String) throws(ChatTemplateError) {
    for name in Self.names {
      let path = "\(folder)/\(name)"
      guard FileManager.default.fileExists(atPath: path) else { continue }
      let bytes = try Self.read(path)
      let text =
        name == Self.textName ? try Self.text(bytes, path) : try Self.value(in: bytes, path)
      guard let text else { continue }
      self.path = path
      self.text = text
      return
    }
    return nil
  }

  private static func read(_ path: String) throws(ChatTemplateError) -> [UInt8] {
    do throws(TokenizerError) {
      return try TokenizerFiles.read(path)
    } catch {
      throw ChatTemplateError(.unreadableTemplate, error.description)
    }
  }

  private static func text(_ bytes: [UInt8], _ path: String) throws(ChatTemplateError) -> String {
    if let offset = bytes.withUnsafeBufferPointer({ UTF8Text.firstInvalid($0) }) {
      throw ChatTemplateError(
        .unreadableTemplate, "\(path): is not UTF-8 text, first at byte \(offset)")
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The key `chat_template`: a text, or a list of names and texts, of which `default` is taken.
  private static func value(
    in bytes: [UInt8], _ path: String
  ) throws(ChatTemplateError) -> String? {
    let document: JSONValue
    let source = try text(bytes, path)
    do throws(JSONError) {
      document = try JSONValue(parsing: source)
    } catch {
      throw ChatTemplateError(.unreadableTemplate, "\(path): is not JSON: \(error)")
    }
    guard let value = document["chat_template"], !value.isNull else { return nil }
    if let single = value.stringValue { return single }
    let entries = value.arrayValue ?? []
    let entry = entries.first { $0["name"]?.stringValue == "default" } ?? entries.first
    guard let text = entry?["template"]?.stringValue else {
      throw ChatTemplateError(
        .unreadableTemplate,
        "\(path): chat_template must be a text or a list of objects with name and template, is "
          + value.kindDescription)
    }
    return text
  }
}

/// Which chat template is used for a model, and why.
public struct ChatTemplateChoice: Sendable {
  /// The template; nil where the folder's own text is of no family that is known here.
  public private(set) var template: ChatTemplate?
  /// Why it is this one, or why there is none, as the rest of a sentence about the template.
  public let reason: String
  /// The folder's own text, nil where it has none.
  public let file: ChatTemplateFile?
  /// Whether `file` writes conversations as `template` does, so that an export keeps it.
  public let keepsFile: Bool

  /// Chooses the named template, else the one that the first of `folders` with a text holds, else
  /// the fallback.
  ///
  /// - Parameters:
  ///   - name: What the user asks for; nil leaves it to the folders.
  ///   - folders: Model and tokenizer folders, the more important one first.
  ///   - fallback: The name for folders without a text; nil for none.
  /// - Throws: `ChatTemplateError` for an unknown name, or a file that cannot be read.
  public init(
    named name: String?, folders: [String], fallback: String?
  ) throws(ChatTemplateError) {
    var found: ChatTemplateFile?
    for folder in folders where found == nil { found = try ChatTemplateFile(folder: folder) }
    file = found
    let recognized = found.flatMap { ChatTemplate.recognized(jinja: $0.text) }
    if let name {
      let named = try ChatTemplate.named(name)
      template = named
      keepsFile = recognized?.template.name == name
      reason =
        switch (found, recognized) {
        case (nil, _): "as named"
        case (let file?, let own?) where own.template.name == name:
          "as named, and as \(file.path) has it"
        case (let file?, let own?): "as named; \(file.path) has that of \(own.template.name)"
        case (let file?, nil): "as named; \(file.path) is of no family known here"
        }
    } else if let found {
      template = recognized?.template
      keepsFile = recognized != nil
      reason =
        recognized.map { "told from \(found.path) by \($0.evidence)" }
        ?? "\(found.path) is of no family known here"
    } else {
      template = try fallback.map { name throws(ChatTemplateError) in try .named(name) }
      keepsFile = false
      reason =
        folders.isEmpty
        ? "the model family's, since no folder brings one"
        : "the model family's, since \(folders.joined(separator: " and ")) brings none"
    }
  }

  /// The same choice with the values that gpt-oss writes into its system message; a template without
  /// a place for them stays as it is.
  public func configured(
    currentDate: String?, reasoningEffort: ReasoningEffort?
  ) -> ChatTemplateChoice {
    var choice = self
    let configured = try? template?.configured(
      currentDate: currentDate, reasoningEffort: reasoningEffort)
    choice.template = configured ?? template
    return choice
  }

  /// What to do where there is no template.
  public var advice: String {
    "\(reason); name one of \(ChatTemplate.names.joined(separator: ", "))"
  }
}
