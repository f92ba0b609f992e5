import Foundation
import Synchronization
import XTunerSystem

/// A file that only grows, one whole write a record.
///
/// Every record is one `write` on a descriptor opened for appending, so a kill leaves at most the
/// last record torn, and never one before it.
final class AppendOnlyFile: Sendable {
  let path: String
  private let descriptor: Mutex<Int32>

  init(path: String) throws(RunDirectoryError) {
    self.path = path
    let opened = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o666)
    guard opened >= 0 else {
      throw .system(path: path, action: "open for writing", errorNumber: errno)
    }
    descriptor = Mutex(opened)
  }

  deinit {
    descriptor.withLock { _ = close($0) }
  }

  /// Appends bytes; they survive the process from then on, and the machine after `synchronize`.
  func append(_ bytes: some Collection<UInt8>) throws(RunDirectoryError) {
    let bytes = Array(bytes)
    let failure: Int32? = descriptor.withLock { descriptor in
      WholeWrite.write(bytes, to: descriptor)
    }
    if let failure { throw .system(path: path, action: "write", errorNumber: failure) }
  }

  /// Waits until everything appended so far is on the disk.
  func synchronize() throws(RunDirectoryError) {
    let failure: Int32? = descriptor.withLock { descriptor in
      // EINVAL: a pipe or device, which has nothing to synchronize.
      fsync(descriptor) == 0 || errno == EINVAL ? nil : errno
    }
    if let failure { throw .system(path: path, action: "synchronize", errorNumber: failure) }
  }
}

/// Whole-file writing that a kill cannot leave half done.
enum FileWriting {
  /// Replaces a file: writes `PATH.incomplete`, synchronizes it and renames it over the file.
  static func replace(
    _ path: String, with bytes: some Collection<UInt8>
  ) throws(RunDirectoryError) {
    let temporary = "\(path).incomplete"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw .system(path: path, action: "write", errorNumber: errno)
    }
    var failure = WholeWrite.write(Array(bytes), to: descriptor)
    if failure == nil, fsync(descriptor) != 0 { failure = errno }
    close(descriptor)
    if failure == nil, rename(temporary, path) != 0 { failure = errno }
    if let failure {
      unlink(temporary)
      throw .system(path: path, action: "write", errorNumber: failure)
    }
  }
}
