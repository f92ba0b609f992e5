import Glibc

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
