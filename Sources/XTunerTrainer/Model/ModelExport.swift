import Foundation
public import Torch
import XTunerCheckpoint
import XTunerConfiguration
public import XTunerModels
public import XTunerTokenizers

/// A file of a Hugging Face folder, by name.
public typealias ModelFile = (name: String, bytes: [UInt8])

/// Parts of a Hugging Face folder beside the weights.
public enum ModelExport {
  static let configurationName = "config.json"

  /// Everything that the folder of a run has beside the weights: `config.json`, and what `files` gives.
  ///
  /// A checkpoint carries them, so that it can be exported by itself. `dtype` is what the run computes
  /// in, which an export has unless another type is asked for.
  public static func files(
    _ configuration: ModelConfiguration, dtype: DType, beside others: [ModelFile]
  ) throws -> [ModelFile] {
    var configuration = configuration
    configuration.hasFloat8Blocks = false
    configuration.weightType = dtype.configurationName
    let text = try configuration.configurationText()
    return [(configurationName, Array(text.utf8))] + others
  }

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
  ) throws -> [ModelFile] {
    // From memory: an export needs no other disk than its own.
    var files = tokenizer.savedFiles
    let configuration = files.firstIndex { $0.name == tokenizerConfigurationName }
    let keepsFile = choice.keepsFile || choice.template == nil
    if let file = choice.file, keepsFile {
      let isInConfiguration =
        file.name == tokenizerConfigurationName
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

  private static let tokenizerConfigurationName = "tokenizer_config.json"

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

extension [ModelFile] {
  /// All but `config.json`, which an export writes for its own type of weights.
  var besideConfiguration: [ModelFile] { filter { $0.name != ModelExport.configurationName } }
}

extension RunConfiguration {
  /// What an export of a run holds beside weights and `config.json`.
  func exportFiles(
    _ tokenizer: Tokenizer, template: ChatTemplateChoice
  ) throws -> [ModelFile] {
    try ModelExport.files(
      tokenizer, template: template, modelFolder: model.path,
      keepsTokenizer: self.tokenizer.path == model.path)
  }
}
