import Foundation
import Glibc
import XTunerSystem
import XTunerText

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
    return names.sortedByBytes()
  }

  static func read(_ path: String) throws(CheckpointError) -> [UInt8] {
    try MappedFile(path: path).withBytes { Array($0) }
  }

  static func makeFolder(_ path: String) throws(CheckpointError) {
    if let failure = Folders.make(path) {
      throw .writing("create the folder", path: path, errorNumber: failure)
    }
  }

  /// Makes a folder in one that exists; a folder that is there already is no error.
  static func makeLastFolder(_ path: String) throws(CheckpointError) {
    guard mkdir(path, 0o777) != 0 else { return }
    let reason = errno
    guard kind(path) != .folder else { return }
    throw .system("create the folder", path: path, errorNumber: reason)
  }

  /// Whether a path is a symbolic link to what is not there.
  static func isDanglingLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
      && stat(path, &status) != 0
  }

  static func rename(_ path: String, to newPath: String) throws(CheckpointError) {
    guard Glibc.rename(path, newPath) == 0 else {
      throw .writing("rename to \(newPath)", path: path)
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
      throw CheckpointError(
        .unwritable, path: path, "cannot be removed: \(SystemReason.text(error))")
    }
  }

  /// Flushes a folder's entries to the device, so that a rename in it survives a loss of power.
  static func syncFolder(_ path: String) throws(CheckpointError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system("open", path: path) }
    defer { close(descriptor) }
    // Some network file systems cannot flush folders and say so with EINVAL.
    guard fsync(descriptor) == 0 || errno == EINVAL else { throw .writing("flush", path: path) }
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
