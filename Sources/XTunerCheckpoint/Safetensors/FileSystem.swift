import Foundation
import Glibc
import XTunerInput

/// The few operations on files that checkpoints need, with errors that name the file.
enum FileSystem {
  enum Kind { case file, folder, other }

  /// What lies at a path, or nil where there is nothing.
  static func kind(_ path: String) -> Kind? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .file
    case S_IFDIR: return .folder
    default: return .other
    }
  }

  static func byteCount(_ path: String) throws(CheckpointError) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .system("inspect", path: path) }
    return Int(status.st_size)
  }

  /// Names in a folder, sorted; empty where the folder does not exist.
  static func names(in folder: String) throws(CheckpointError) -> [String] {
    guard let stream = opendir(folder) else {
      if errno == ENOENT { return [] }
      throw .system("list", path: folder)
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let item = readdir(stream) {
      let name = withUnsafePointer(to: &item.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  static func read(_ path: String) throws(CheckpointError) -> [UInt8] {
    try MappedFile(path: path).withBytes { Array($0) }
  }

  static func makeFolder(_ path: String) throws(CheckpointError) {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw .system("create the folder", path: path)
    }
  }

  static func rename(_ path: String, to newPath: String) throws(CheckpointError) {
    guard Glibc.rename(path, newPath) == 0 else {
      throw .system("rename to \(newPath)", path: path)
    }
  }

  static func remove(_ path: String) throws(CheckpointError) {
    var status = stat()
    guard lstat(path, &status) == 0 else {
      if errno == ENOENT { return }
      throw .system("inspect", path: path)
    }
    do {
      try FileManager.default.removeItem(atPath: path)
    } catch {
      // Another process may have been quicker; only what is still there is a problem.
      guard lstat(path, &status) == 0 else { return }
      throw CheckpointError(.inputOutput, path: path, "cannot be removed: \(FileErrors.reason(of: error))")
    }
  }

  /// Flushes a folder's entries to the device, so that a rename in it survives a loss of power.
  static func syncFolder(_ path: String) throws(CheckpointError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system("open", path: path) }
    defer { close(descriptor) }
    // Some network file systems cannot flush folders and say so with EINVAL.
    guard fsync(descriptor) == 0 || errno == EINVAL else { throw .system("flush", path: path) }
  }

  static func parent(_ path: String) -> String {
    let parent = (path as NSString).deletingLastPathComponent
    return parent.isEmpty ? "." : parent
  }

  /// Whether a name can only mean a file in the folder it is looked up in.
  static func isPlainName(_ name: String) -> Bool {
    !name.isEmpty && name != "." && name != ".." && !name.contains("/") && !name.contains("\0")
  }

  /// A path without a slash at its end, so that a suffix can be added.
  static func trimmed(_ path: String) -> String {
    var path = path
    while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
    return path
  }
}
