import XTunerModels
import XTunerText

/// The tensors of a Hugging Face folder: one `model.safetensors`, or shards with an index.
public final class HFCheckpointFolder: Sendable {
  static let singleName = "model.safetensors"
  static let indexName = "model.safetensors.index.json"

  /// The folder.
  public let path: String
  /// The files, in the order of their names.
  public let files: [SafetensorsFile]
  /// Safetensors files in the folder that the checkpoint does not name, and so are not read.
  public let unusedFileNames: [String]
  private let fileIndices: [ExactText: Int]

  /// Opens a folder and checks that every file and tensor it names is there.
  ///
  /// - Throws: `CheckpointError` where there are no weights, where the folder has both a single file
  ///   and shards, where a shard or a tensor that the index names is absent, where a shard holds a
  ///   tensor that the index places elsewhere or not at all, or where a file is damaged.
  public init(path: String) throws(CheckpointError) {
    let path = FileSystem.trimmed(path)
    guard FileSystem.kind(path) == .folder else {
      throw CheckpointError(.missing, path: path, "is not a folder")
    }
    let hasIndex = FileSystem.kind("\(path)/\(Self.indexName)") != nil
    let hasSingle = FileSystem.kind("\(path)/\(Self.singleName)") != nil
    let weightMap = hasIndex ? try Self.readIndex("\(path)/\(Self.indexName)") : nil
    let names: [String]
    if let weightMap {
      names = Set<ExactText>(weightMap.values).sorted().map(\.text)
      if hasSingle && !names.containsExactly(Self.singleName) {
        throw CheckpointError(
          .mismatch, path: path,
          "has both \(Self.singleName) and \(Self.indexName); remove the one that is out of date")
      }
    } else {
      guard hasSingle else {
        throw CheckpointError(
          .missing, path: path, "has no weights: neither \(Self.singleName) nor \(Self.indexName)")
      }
      names = [Self.singleName]
    }

    self.path = path
    files = try Self.open(names, in: path)
    var fileIndices: [ExactText: Int] = [:]
    for (index, file) in files.enumerated() {
      for name in file.names where fileIndices.updateValue(index, forKey: name) != nil {
        throw CheckpointError(.damaged, path: file.path, "repeats tensor \(name) of another shard")
      }
    }
    self.fileIndices = fileIndices
    unusedFileNames = try FileSystem.names(in: path).filter {
      $0.hasSuffix(".safetensors") && !names.containsExactly($0)
    }
    if let weightMap { try checkIndex(weightMap, fileNames: names) }
  }

  /// The tensors of all files, in the order of the files and of the data in each.
  public var entries: [SafetensorsEntry] { files.flatMap(\.entries) }

  /// Whether there is a tensor of a name.
  public func contains(_ name: String) -> Bool { fileIndices[name] != nil }

  /// The file that holds a tensor; it owns the tensor's memory.
  ///
  /// - Throws: `CheckpointError` where there is no such tensor.
  public func file(of name: String) throws(CheckpointError) -> SafetensorsFile {
    guard let index = fileIndices[name] else {
      throw CheckpointError(.missing, path: path, "has no tensor \(name)")
    }
    return files[index]
  }

  private static func open(
    _ names: [String], in folder: String
  ) throws(CheckpointError) -> [SafetensorsFile] {
    let absent = names.filter { FileSystem.kind("\(folder)/\($0)") == nil }
    guard absent.isEmpty else {
      throw CheckpointError(
        .missing, path: folder,
        "lacks \(absent.count) of \(names.count) files that \(indexName) names: "
          + absent.prefix(5).joined(separator: ", "))
    }
    var files: [SafetensorsFile] = []
    for name in names { files.append(try SafetensorsFile(path: "\(folder)/\(name)")) }
    return files
  }

  private static func readIndex(_ path: String) throws(CheckpointError) -> [ExactText: String] {
    let document: JSONDocument
    let bytes = try FileSystem.read(path)
    do {
      document = try JSONDocument(parsing: bytes)
    } catch {
      throw CheckpointError(.damaged, path: path, "not valid JSON: \(error)")
    }
    guard let object = document.object?["weight_map"]?.object, object.count > 0 else {
      throw CheckpointError(.damaged, path: path, "weight_map must map tensor names to files")
    }
    var weightMap: [ExactText: String] = [:]
    for name in object.keys {
      guard let file = object[name]?.string, FileSystem.isPlainName(file) else {
        throw CheckpointError(
          .damaged, path: path, "weight_map.\(name): must be the name of a file in the folder")
      }
      weightMap[name] = file
    }
    return weightMap
  }

  private func checkIndex(
    _ weightMap: [ExactText: String], fileNames: [String]
  ) throws(CheckpointError) {
    for (name, file) in weightMap.sorted(by: { $0.key < $1.key }) {
      let found = fileIndices[name].map { fileNames[$0] }
      guard found?.isExactly(file) == true else {
        let place = found.map { "it is in \($0)" } ?? "it is in no shard"
        throw CheckpointError(
          found == nil ? .missing : .mismatch, path: "\(path)/\(Self.indexName)",
          "tensor \(name) should be in \(file); \(place)")
      }
    }
    if let name = fileIndices.keys.filter({ weightMap[$0] == nil }).min() {
      throw CheckpointError(
        .mismatch, path: "\(path)/\(Self.indexName)",
        "does not name tensor \(name), which a shard holds")
    }
  }
}
