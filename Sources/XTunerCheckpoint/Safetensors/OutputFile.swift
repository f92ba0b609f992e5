import Crypto
import Glibc

/// A file that exists under its name only once it is whole and on the disk.
///
/// It is written as `NAME.incomplete`, flushed to the device and renamed by `finish()`. An object
/// that goes away unfinished removes what it wrote. One thread at a time may use it.
final class OutputFile {
  /// What was written.
  struct Summary: Sendable, Hashable {
    var byteCount: Int
    /// SHA-256 of the content in hexadecimal digits.
    var digest: String
  }

  static let partialSuffix = ".incomplete"

  let path: String
  private let partialPath: String
  private var descriptor: Int32
  private var byteCount = 0
  private var hasher: SHA256?

  /// Creates the partial file, in place of one that an earlier attempt left behind.
  ///
  /// - Parameters:
  ///   - path: the final name.
  ///   - isHashed: whether the summary is to hold a digest.
  /// - Throws: `CheckpointError` where the file cannot be created.
  init(path: String, isHashed: Bool = false) throws(CheckpointError) {
    self.path = path
    partialPath = path + Self.partialSuffix
    hasher = isHashed ? SHA256() : nil
    unlink(partialPath)
    descriptor = open(partialPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw .writing("create", path: path) }
  }

  /// Appends bytes.
  ///
  /// - Throws: `CheckpointError` naming the file and how many bytes fitted; the partial file is
  ///   removed, and nothing more can be written.
  func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    try requireOpen()
    hasher?.update(bufferPointer: bytes)
    var rest = bytes
    while !rest.isEmpty {
      // One call moves at most 2^31 bytes; smaller pieces keep an interruption short.
      let count = Glibc.write(descriptor, rest.baseAddress, min(rest.count, 1 << 26))
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        let action = "write \(rest.count) bytes after the first \(byteCount)"
        throw fail(action, errorNumber: count == 0 ? ENOSPC : errno)
      }
      byteCount += count
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
  }

  /// Flushes to the device and gives the file its name.
  ///
  /// The folder's own entry is flushed by `syncFolder`, once for all files in it.
  func finish() throws(CheckpointError) -> Summary {
    try requireOpen()
    guard fsync(descriptor) == 0 else { throw fail("flush \(byteCount) bytes") }
    let closed = close(descriptor)
    descriptor = -1
    guard closed == 0, rename(partialPath, path) == 0 else { throw fail("finish") }
    let digest = hasher.map { hexadecimal($0.finalize()) }
    return Summary(byteCount: byteCount, digest: digest ?? "")
  }

  private func requireOpen() throws(CheckpointError) {
    guard descriptor >= 0 else {
      throw CheckpointError(.inputOutput, path: path, "was finished, or failed, before this call")
    }
  }

  private func fail(_ action: String, errorNumber: Int32 = errno) -> CheckpointError {
    let error = CheckpointError.writing(action, path: path, errorNumber: errorNumber)
    discard()
    return error
  }

  private func discard() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    unlink(partialPath)
  }

  deinit {
    if descriptor >= 0 { discard() }
  }
}
