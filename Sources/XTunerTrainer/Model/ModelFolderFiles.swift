import Foundation
import XTunerRun
import XTunerTokenizers

/// What a model's folder holds beside weights, `config.json`, tokenizer and template: sampling
/// defaults, licence, code and notes, which belong to what is trained from it as well.
enum ModelFolderFiles {
  static let generationName = "generation_config.json"

  /// Endings of files with weights in any of the usual forms.
  private static let weightEndings = [
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".npz",
    ".index.json",
  ]
  /// Files of a tokenizer, which the export writes itself, and of another one when it was replaced.
  private static let tokenizerNames = [
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tiktoken.model",
    "qwen.tiktoken", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
  ]
  /// Larger files are no notes or code.
  private static let largestByteCount = 64 << 20

  /// The files to carry along, by name.
  ///
  /// - Parameters:
  ///   - folder: The folder that the model was read from.
  ///   - written: Names that the export writes itself.
  ///   - keepsTokenizer: Whether the run's tokenizer is the folder's own.
  ///   - endTokens: The tokens that end an answer as it was trained, the most usual first.
  /// - Returns: The files by name, in the order of their names.
  /// - Throws: `TrainingError` with the file and what is wrong with it.
  static func carried(
    from folder: String, besides written: [String], keepsTokenizer: Bool, endTokens: [Int32]
  ) throws(TrainingError) -> [(name: String, bytes: [UInt8])] {
    let excluded = written + ["config.json"] + ChatTemplateFile.names
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder)
    } catch {
      throw TrainingError(.model, "\(folder): cannot be listed")
    }
    var files: [(name: String, bytes: [UInt8])] = []
    for name in names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) })
    where !name.hasPrefix(".") && !contains(excluded, name) {
      if weightEndings.contains(where: { name.lowercased().hasSuffix($0) }) { continue }
      if !keepsTokenizer, contains(tokenizerNames, name) { continue }
      let path = "\(folder)/\(name)"
      guard isSmallFile(path) else { continue }
      var bytes = try read(path)
      if name == generationName {
        bytes = try generationConfiguration(bytes, path: path, endTokens: endTokens)
      }
      files.append((name: name, bytes: bytes))
    }
    return files
  }

  /// The sampling defaults, with the end tokens that were trained: as they are where the first of
  /// them is among theirs.
  static func generationConfiguration(
    _ bytes: [UInt8], path: String, endTokens: [Int32]
  ) throws(TrainingError) -> [UInt8] {
    let document: JSONValue
    do throws(JSONError) {
      document = try JSONValue(parsing: String(decoding: bytes, as: UTF8.self))
    } catch {
      throw TrainingError(.model, "\(path): is not JSON: \(error)")
    }
    guard var object = document.objectValue else {
      throw TrainingError(
        .model, "\(path): must hold an object, holds \(document.kindDescription)")
    }
    var ends: [Int] = []
    if let value = object["eos_token_id"], !value.isNull {
      for element in value.arrayValue ?? [value] {
        guard let id = element.integerValue, id >= 0 else {
          throw TrainingError(
            .model,
            "\(path): eos_token_id must be a token id or a list of them, is "
              + value.text().prefix(60))
        }
        ends.append(id)
      }
    }
    guard let trained = endTokens.first, !ends.contains(Int(trained)) else { return bytes }
    object["eos_token_id"] = .array(([Int(trained)] + ends).map(JSONValue.integer))
    return Array((JSONValue.object(object).text() + "\n").utf8)
  }

  private static func contains(_ names: [String], _ name: String) -> Bool {
    names.contains { $0.utf8.elementsEqual(name.utf8) }
  }

  /// Whether a path, links followed, is a regular file that may be carried.
  private static func isSmallFile(_ path: String) -> Bool {
    let target = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    let attributes = try? FileManager.default.attributesOfItem(atPath: target)
    guard attributes?[.type] as? FileAttributeType == .typeRegular else { return false }
    return (attributes?[.size] as? NSNumber)?.intValue ?? 0 <= largestByteCount
  }

  private static func read(_ path: String) throws(TrainingError) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw TrainingError(.model, "\(path): cannot be read; it belongs to the export")
    }
    return Array(data)
  }
}
