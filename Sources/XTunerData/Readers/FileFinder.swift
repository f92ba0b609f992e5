import Foundation
import XTunerInput

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What a data file holds, by the end of its name.
enum FileKind: Sendable {
  case jsonLines, json, plainText

  /// The names that data files end with, as error messages list them.
  static let knownNames = ".jsonl, .json, .txt, each also with .gz or .zst"

  init?(path: String) {
    var name = path.lowercased()
    let compression = Compression(path: name)
    name.removeLast(compression.suffix.count)
    if name.hasSuffix(".jsonl") || name.hasSuffix(".ndjson") {
      self = .jsonLines
    } else if name.hasSuffix(".json") {
      self = .json
    } else if name.hasSuffix(".txt") {
      self = .plainText
    } else {
      return nil
    }
  }
}

/// Resolves paths, folders and patterns to data files.
enum FileFinder {
  static func files(at path: String) throws(DataReadError) -> [String] {
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) {
      if isFolder.boolValue { return try dataFiles(inFolder: path) }
      try refuseUnsupported(path)
      return [path]
    }
    guard path.contains(where: { "*?[".contains($0) }) else {
      var status = stat()
      if lstat(path, &status) == 0 {
        throw DataReadError(
          .unreadableFile, "is a link that points nowhere; mend or remove it", file: path)
      }
      throw DataReadError(.noFiles, "no such file or folder\(advice(path))", file: path)
    }
    return try dataFiles(matching: path)
  }

  /// What fetches a data set that was named as it is called on the Hugging Face Hub.
  private static func advice(_ path: String) -> String {
    guard let hub = HubName(path, expecting: .dataset) else { return "" }
    return """
      ; if that is its name on the Hugging Face Hub, \
      `\(hub.downloadCommand) --local-dir data/\(hub.name)` fetches it, and data/\(hub.name) is the \
      path to give
      """
  }

  private static func dataFiles(inFolder folder: String) throws(DataReadError) -> [String] {
    let all = try allFiles(inFolder: folder)
    for file in all where conversionCommand(for: file) != nil { try refuseUnsupported(file) }
    let files = all.filter { FileKind(path: $0) != nil }
    guard files.isEmpty else { return files }
    let seen = all.prefix(5).map { String($0.dropFirst(folder.count)) }.joined(separator: ", ")
    throw DataReadError(
      .noFiles,
      "the folder has no data files (looked for \(FileKind.knownNames); "
        + "found \(all.isEmpty ? "nothing" : seen))", file: folder)
  }

  private static func dataFiles(matching pattern: String) throws(DataReadError) -> [String] {
    let components = pattern.split(separator: "/", omittingEmptySubsequences: false).map(
      String.init)
    let fixed = components.prefix { component in !component.contains { "*?[".contains($0) } }
    let root = fixed.isEmpty ? "." : fixed.joined(separator: "/")
    var isFolder: ObjCBool = false
    let rootPath = root.isEmpty ? "/" : root
    let rootExists = FileManager.default.fileExists(atPath: rootPath, isDirectory: &isFolder)
    guard rootExists, isFolder.boolValue else {
      throw DataReadError(
        .noFiles, "no file matches the pattern: the folder \(rootPath) does not exist",
        file: pattern)
    }
    let parts = Array(components.dropFirst(fixed.count))
    let base = rootPath.hasSuffix("/") ? rootPath : "\(rootPath)/"
    let matches = try allFiles(inFolder: rootPath).filter { file in
      let relative = file.utf8.dropFirst(base.utf8.count).split(separator: UInt8(ascii: "/"))
        .map { String(decoding: $0, as: UTF8.self) }
      return fits(relative[...], parts[...])
    }
    if matches.isEmpty {
      throw DataReadError(.noFiles, "no file matches the pattern", file: pattern)
    }
    for file in matches { try refuseUnsupported(file) }
    return fixed.isEmpty
      ? matches.map { String(decoding: $0.utf8.dropFirst(base.utf8.count), as: UTF8.self) }
      : matches
  }

  /// Matches path components, `**` standing for any number of them.
  private static func fits(_ path: ArraySlice<String>, _ pattern: ArraySlice<String>) -> Bool {
    guard let first = pattern.first else { return path.isEmpty }
    if first == "**" {
      return fits(path, pattern.dropFirst())
        || (!path.isEmpty && fits(path.dropFirst(), pattern))
    }
    guard let component = path.first, fnmatch(first, component, FNM_PERIOD) == 0 else {
      return false
    }
    return fits(path.dropFirst(), pattern.dropFirst())
  }

  /// All files below a folder in order of their names' bytes, hidden ones left out.
  private static func allFiles(inFolder folder: String) throws(DataReadError) -> [String] {
    var files: [String] = []
    try collect(folder, into: &files, above: [])
    return files
  }

  /// Appends the files below `folder`, which lies below the folders `above`.
  private static func collect(
    _ folder: String, into files: inout [String], above: [FileIdentity]
  ) throws(DataReadError) {
    let identity = try FileIdentity(path: folder)
    // A link that leads back up must not be followed forever: its files are read where they lie. A
    // folder that two links name is read twice, as two copies of it would be.
    guard !above.contains(identity) else { return }
    let base = folder.hasSuffix("/") ? folder : "\(folder)/"
    for name in try visibleNames(inFolder: folder) {
      let path = "\(base)\(name)"
      if try FileIdentity(path: path).isFolder {
        try collect(path, into: &files, above: above + [identity])
      } else {
        files.append(path)
      }
    }
  }

  /// The names in a folder in the order of their bytes, without those that begin with a full stop.
  private static func visibleNames(inFolder folder: String) throws(DataReadError) -> [String] {
    guard let stream = opendir(folder) else {
      throw DataReadError(
        .unreadableFile, "the folder cannot be listed: \(String(cString: strerror(errno)))",
        file: folder)
    }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      if name.first != UInt8(ascii: ".") { names.append(name) }
    }
    names.sort { $0.lexicographicallyPrecedes($1) }
    var texts: [String] = []
    for name in names {
      guard let text = String(validating: name, as: UTF8.self) else {
        throw DataReadError(
          .unreadableFile,
          "the name \(String(decoding: name, as: UTF8.self)) in it is not valid UTF-8; rename it",
          file: folder)
      }
      texts.append(text)
    }
    return texts
  }
}

/// What a path leads to, whatever its name; two paths to one file have the same.
private struct FileIdentity: Equatable {
  private let device: UInt64
  private let number: UInt64
  let isFolder: Bool

  /// Follows links; one that points nowhere is an error, since data would be missing without a word.
  init(path: String) throws(DataReadError) {
    var status = stat()
    guard stat(path, &status) == 0 else {
      let failure = errno
      guard failure == ENOENT || failure == ELOOP else {
        throw DataReadError(
          .unreadableFile, "cannot be read: \(String(cString: strerror(failure)))", file: path)
      }
      throw DataReadError(
        .unreadableFile, "is a link that points nowhere; mend or remove it", file: path)
    }
    device = UInt64(status.st_dev)
    number = UInt64(status.st_ino)
    isFolder = status.st_mode & S_IFMT == S_IFDIR
  }
}

// MARK: - Unsupported files

extension FileFinder {
  private static func refuseUnsupported(_ path: String) throws(DataReadError) {
    if FileKind(path: path) != nil { return }
    if let command = conversionCommand(for: path) {
      throw DataReadError(
        .unsupportedFile, "this kind of file is not read; convert it to JSONL: \(command)",
        file: path)
    }
    throw DataReadError(
      .unsupportedFile, "unknown kind of file; known are \(FileKind.knownNames)", file: path)
  }

  /// The shell command that turns a table into JSONL, nil for other kinds of files.
  private static func conversionCommand(for path: String) -> String? {
    let url = URL(fileURLWithPath: path)
    let output = shellQuoted("\(path.dropLast(url.pathExtension.count))jsonl")
    let write = "to_json(sys.argv[2], orient='records', lines=True, force_ascii=False)"
    let code: String
    switch url.pathExtension.lowercased() {
    case "parquet": code = "import sys, pandas; pandas.read_parquet(sys.argv[1]).\(write)"
    case "csv": code = "import sys, pandas; pandas.read_csv(sys.argv[1]).\(write)"
    case "tsv": code = "import sys, pandas; pandas.read_csv(sys.argv[1], sep='\\t').\(write)"
    case "arrow":
      code =
        "import sys, datasets; "
        + "datasets.Dataset.from_file(sys.argv[1]).to_json(sys.argv[2], force_ascii=False)"
    default: return nil
    }
    return "python3 -c \"\(code)\" \(shellQuoted(path)) \(output)"
  }

  private static func shellQuoted(_ text: String) -> String {
    "'\(text.replacing("'", with: "'\\''"))'"
  }
}
