internal import Foundation
internal import XTunerSystem

/// The files that define a tokenizer, as bytes.
struct TokenizerFiles: Sendable {
  /// Folder they were read from, nil for a tokenizer made in memory.
  var folder: String?
  /// `tokenizer.json` or the tiktoken file, as the caller would name it in messages.
  var path: String
  /// Name to save the defining file under.
  var name: String
  var bytes: [UInt8]
  /// Bytes of the files beside it that say more about its tokens, by name.
  private(set) var companions: [(name: String, bytes: [UInt8])] = []

  static let configurationName = "tokenizer_config.json"
  static let mapName = "special_tokens_map.json"
  static let addedName = "added_tokens.json"
  private static let candidates = ["tokenizer.json", "tiktoken.model", "qwen.tiktoken"]

  /// Bytes of `tokenizer_config.json` beside it, if there is one.
  var configuration: [UInt8]? {
    companions.first { $0.name == Self.configurationName }?.bytes
  }

  /// What a file beside it says, or nil where there is none.
  func node(_ name: String) throws(TokenizerError) -> ConfigurationNode? {
    guard let file = companions.first(where: { $0.name == name }) else { return nil }
    let path = folder.map { "\($0)/\(name)" } ?? name
    return ConfigurationNode(try TokenizerJSON.parse(file.bytes, file: path), file: path)
  }

  /// Reads a folder or a file.
  init(path: String) throws(TokenizerError) {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw TokenizerError(
        .unreadable, file: path,
        "does not exist; give a folder with tokenizer.json or tiktoken.model, or such a file")
    }
    var file = path
    if isFolder.boolValue {
      let found = Self.candidates.first {
        FileManager.default.fileExists(atPath: "\(path)/\($0)")
      }
      guard let found else {
        throw TokenizerError(
          .unreadable, file: path,
          "holds none of \(Self.candidates.joined(separator: ", "))")
      }
      file = "\(path)/\(found)"
    }
    let url = URL(fileURLWithPath: file)
    let folder = url.deletingLastPathComponent().path
    self.path = file
    self.folder = folder
    name = url.lastPathComponent
    bytes = try Self.read(file)
    for companion in [Self.configurationName, Self.mapName, Self.addedName]
    where name != companion && FileManager.default.fileExists(atPath: "\(folder)/\(companion)") {
      companions.append((companion, try Self.read("\(folder)/\(companion)")))
    }
  }

  /// Files made in memory; `path` is for messages.
  init(path: String, name: String, bytes: [UInt8], configuration: [UInt8]?) {
    self.path = path
    self.name = name
    self.bytes = bytes
    companions = configuration.map { [(Self.configurationName, $0)] } ?? []
  }

  /// Whether the defining file is a list of ranks rather than JSON.
  var isTiktoken: Bool { name.hasSuffix(".tiktoken") || name == "tiktoken.model" }

  static func read(_ path: String) throws(TokenizerError) -> [UInt8] {
    do {
      return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw TokenizerError(.unreadable, file: path, "cannot be read: \(SystemReason.text(error))")
    }
  }

  /// Writes `bytes` to `path` through a temporary file, so that no half file is ever seen.
  static func write(_ bytes: [UInt8], to path: String) throws(TokenizerError) {
    do {
      // A link is followed: what it points to is replaced.
      let url = URL(fileURLWithPath: path).resolvingSymlinksInPath()
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(bytes).write(to: url, options: .atomic)
    } catch {
      throw TokenizerError(
        .unreadable, file: path, "cannot be written: \(SystemReason.text(error))")
    }
  }

  /// The files of a folder with this tokenizer, by name.
  var saved: [(name: String, bytes: [UInt8])] {
    [(name: isTiktoken ? name : "tokenizer.json", bytes: bytes)] + companions
  }

  /// Writes the files into `folder`, which is made if needed.
  func save(to folder: String) throws(TokenizerError) {
    for file in saved { try Self.write(file.bytes, to: "\(folder)/\(file.name)") }
  }
}
