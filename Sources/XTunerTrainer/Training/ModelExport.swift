import Foundation
public import XTunerTokenizers

/// Parts of a Hugging Face folder beside the weights.
public enum ModelExport {
  /// The files of the tokenizer, the chat template, and what else belongs to the model.
  ///
  /// A folder's own template stays as it is where the run has written conversations like it. Another
  /// one takes its place as `chat_template.jinja`, where it has a Jinja form.
  ///
  /// - Parameters:
  ///   - tokenizer: The run's tokenizer.
  ///   - choice: The run's chat template.
  ///   - modelFolder: The folder that the model was read from, of which sampling defaults, licence and
  ///     other small files are carried along; nil for a model without one.
  ///   - keepsTokenizer: Whether the tokenizer is that folder's own.
  /// - Returns: The files by name.
  /// - Throws: `TrainingError` with a file that cannot be understood.
  public static func files(
    _ tokenizer: Tokenizer, template choice: ChatTemplateChoice, modelFolder: String?,
    keepsTokenizer: Bool
  ) throws -> [(name: String, bytes: [UInt8])] {
    var files = try tokenizerFiles(tokenizer)
    let configuration = files.firstIndex { $0.name == configurationName }
    let keepsFile = choice.keepsFile || choice.template == nil
    if let file = choice.file, keepsFile {
      let isInConfiguration =
        file.name == configurationName
        && configuration.map { template(in: files[$0].bytes) != nil } ?? false
      if !isInConfiguration {
        files.append((name: ChatTemplateFile.textName, bytes: Array(file.text.utf8)))
      }
    } else {
      if let configuration {
        files[configuration].bytes = withoutTemplate(files[configuration].bytes)
      }
      if let jinja = choice.template?.jinjaTemplate {
        files.append((name: ChatTemplateFile.textName, bytes: Array(jinja.utf8)))
      }
    }
    guard let modelFolder, isFolder(modelFolder) else { return files }
    let ends = (choice.template?.stopTokens ?? []).compactMap { tokenizer.id(of: $0) }
    return files
      + (try ModelFolderFiles.carried(
        from: modelFolder, besides: files.map(\.name), keepsTokenizer: keepsTokenizer,
        endTokens: ends))
  }

  private static let configurationName = "tokenizer_config.json"

  private static func tokenizerFiles(
    _ tokenizer: Tokenizer
  ) throws -> [(name: String, bytes: [UInt8])] {
    let manager = FileManager.default
    let folder = manager.temporaryDirectory.appendingPathComponent("xtuner-\(UUID().uuidString)")
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: folder) }
    try tokenizer.save(to: folder.path)
    return try manager.contentsOfDirectory(atPath: folder.path).sorted().map { name in
      (name: name, bytes: Array(try Data(contentsOf: folder.appendingPathComponent(name))))
    }
  }

  private static func isFolder(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
      && isFolder.boolValue
  }

  private static func template(in bytes: [UInt8]) -> JSONValue? {
    let document = try? JSONValue(parsing: String(decoding: bytes, as: UTF8.self))
    return document?["chat_template"].flatMap { $0.isNull ? nil : $0 }
  }

  /// The tokenizer's settings without a template that the run has not followed.
  private static func withoutTemplate(_ bytes: [UInt8]) -> [UInt8] {
    guard template(in: bytes) != nil,
      var object = (try? JSONValue(parsing: String(decoding: bytes, as: UTF8.self)))?.objectValue
    else { return bytes }
    object["chat_template"] = nil
    return Array((JSONValue.object(object).text() + "\n").utf8)
  }
}

extension RunConfiguration {
  /// What an export of a run holds beside weights and `config.json`.
  func exportFiles(
    _ tokenizer: Tokenizer, template: ChatTemplateChoice
  ) throws -> [(name: String, bytes: [UInt8])] {
    try ModelExport.files(
      tokenizer, template: template, modelFolder: model.path,
      keepsTokenizer: self.tokenizer.path == model.path)
  }
}
