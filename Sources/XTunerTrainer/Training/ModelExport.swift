import Foundation
public import Torch
import XTunerCheckpoint
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
    _ configuration: ModelConfiguration, dtype: DType, _ tokenizer: Tokenizer,
    template: ChatTemplate?
  ) throws -> [ModelFile] {
    var configuration = configuration
    configuration.hasFloat8Blocks = false
    configuration.weightType = dtype.configurationName
    let text = try configuration.configurationText()
    return [(configurationName, Array(text.utf8))] + (try files(tokenizer, template: template))
  }

  /// The files that `tokenizer` saves, by name, and the template as `chat_template.jinja` where it
  /// has a Jinja form.
  public static func files(
    _ tokenizer: Tokenizer, template: ChatTemplate?
  ) throws -> [ModelFile] {
    let manager = FileManager.default
    let folder = manager.temporaryDirectory.appendingPathComponent("xtuner-\(UUID().uuidString)")
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: folder) }
    try tokenizer.save(to: folder.path)
    var files = try manager.contentsOfDirectory(atPath: folder.path).sorted().map { name in
      (name: name, bytes: Array(try Data(contentsOf: folder.appendingPathComponent(name))))
    }
    if let jinja = template?.jinjaTemplate {
      files.append((name: "chat_template.jinja", bytes: Array(jinja.utf8)))
    }
    return files
  }
}

extension [ModelFile] {
  /// All but `config.json`, which an export writes for its own type of weights.
  var besideConfiguration: [ModelFile] { filter { $0.name != ModelExport.configurationName } }
}
