import Glibc

/// A folder that exists under its name only once it is whole and on the disk.
///
/// It is filled as `NAME.incomplete` and renamed by `commit()`; a transaction that goes away before
/// removes what was written. One thread at a time may use it.
final class FolderTransaction {
  static let partialSuffix = ".incomplete"
  /// Added to a folder that is being replaced, for the moment between two renamings.
  static let replacedSuffix = ".replaced"

  let path: String
  /// Where files are to be written.
  let partialPath: String
  private var lock: FolderLock?

  /// Where a folder is filled.
  static func partialPath(_ path: String) -> String {
    FileSystem.trimmed(path) + partialSuffix
  }

  /// Starts to fill a folder, in place of what a dead writer left behind.
  ///
  /// - Throws: `CheckpointError` with `occupied` where a living writer is filling the same folder.
  init(path: String) throws(CheckpointError) {
    let final = FileSystem.trimmed(path)
    let partial = Self.partialPath(path)
    (self.path, partialPath) = (final, partial)
    lock = try Self.naming(final) { () throws(CheckpointError) in
      try FileSystem.makeFolder(partial)
      guard let lock = try FolderLock(folder: partial) else {
        throw CheckpointError(
          .occupied, path: final, "another writer is filling it; wait for it or end it")
      }
      for name in try FileSystem.names(in: partial) where name != FolderLock.fileName {
        try FileSystem.remove("\(partial)/\(name)")
      }
      return lock
    }
  }

  /// Runs `body`; errors about the folder in the making name the one that it will be, `path`.
  static func naming<Result>(
    _ path: String, _ body: () throws(CheckpointError) -> Result
  ) throws(CheckpointError) -> Result {
    do {
      return try body()
    } catch {
      throw named(error, path)
    }
  }

  /// An error about the folder in the making, with the final name in place of the one for a while.
  static func named(_ error: CheckpointError, _ path: String) -> CheckpointError {
    var error = error
    let (final, partial) = (FileSystem.trimmed(path), partialPath(path))
    if error.path == partial || error.path.hasPrefix("\(partial)/") {
      error.path = final + error.path.dropFirst(partial.count)
    }
    error.reason = error.reason.replacing("\(partial)/", with: "\(final)/")
    return error
  }

  /// Gives the folder its name, replacing a folder of that name.
  func commit() throws(CheckpointError) {
    guard let lock else {
      throw CheckpointError(.occupied, path: path, "was already finished or given up")
    }
    lock.removeFile()
    try Self.naming(path) { () throws(CheckpointError) in
      try FileSystem.syncFolder(partialPath)
      let replaced = path + Self.replacedSuffix
      try FileSystem.remove(replaced)
      let isReplacing = FileSystem.kind(path) != nil
      if isReplacing { try FileSystem.rename(path, to: replaced) }
      try FileSystem.rename(partialPath, to: path)
      self.lock = nil
      try FileSystem.syncFolder(FileSystem.parent(path))
      if isReplacing { try FileSystem.remove(replaced) }
    }
  }

  /// Removes what was written.
  func discard() {
    guard lock != nil else { return }
    // What cannot be removed here is removed by the next writer; there is no one to tell.
    try? FileSystem.remove(partialPath)
    lock = nil
  }

  /// Undoes the traces of dead writers for a folder: removes a partial one, and gives one that was
  /// being replaced its name back where its successor had not come yet.
  ///
  /// - Returns: whether anything was there.
  static func recover(path: String) throws(CheckpointError) -> Bool {
    var hasRecovered = false
    let partial = path + partialSuffix
    if FileSystem.kind(partial) != nil {
      // A lock that is held belongs to a living writer.
      guard try FolderLock(folder: partial) != nil else { return false }
      try FileSystem.remove(partial)
      hasRecovered = true
    }
    let replaced = path + replacedSuffix
    if FileSystem.kind(replaced) != nil {
      if FileSystem.kind(path) == nil {
        try FileSystem.rename(replaced, to: path)
      } else {
        try FileSystem.remove(replaced)
      }
      hasRecovered = true
    }
    return hasRecovered
  }

  deinit { discard() }
}

/// Exclusive use of a folder by one writer, given up when the process ends however it ends.
final class FolderLock {
  static let fileName = ".lock"

  private let descriptor: Int32
  private let path: String

  /// Takes the lock, or returns nil where a living writer holds it.
  init?(folder: String) throws(CheckpointError) {
    path = "\(folder)/\(Self.fileName)"
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw .writing("create", path: path) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) != 0 else { return }
    let reason = errno
    close(descriptor)
    if reason == EWOULDBLOCK { return nil }
    throw .writing("lock", path: path, errorNumber: reason)
  }

  /// Removes the lock's file, so that it does not become part of the finished folder.
  func removeFile() { unlink(path) }

  deinit { close(descriptor) }
}
