import Crypto
import Glibc

/// A file that exists under its name only once it is whole and on the disk.
///
/// It is written as `NAME.incomplete`, flushed to the device and renamed by `finish()`. An object
/// that goes away unfinished removes what it wrote. A name that is a link means what it points to:
/// that is replaced, and the link stays. What is no regular file, such as a device or a pipe, is
/// written to as it is. One thread at a time may use it.
package final class OutputFile {
  /// What was written.
  package struct Summary: Sendable, Hashable {
    package var byteCount: Int
    /// SHA-256 of the content in hexadecimal digits.
    package var digest: String
  }

  static let partialSuffix = ".incomplete"

  /// The name as it was given.
  package let path: String
  /// The name behind all links.
  private let destination: String
  /// What has the bytes until `finish()`; nil where they go to a device or pipe.
  private let partialPath: String?
  private var descriptor: Int32
  private var byteCount = 0
  private var hasher: SHA256?

  /// Creates the partial file, in place of one that an earlier attempt left behind.
  ///
  /// - Parameters:
  ///   - path: the final name.
  ///   - isHashed: whether the summary is to hold a digest.
  /// - Throws: `CheckpointError` where the file cannot be created.
  package init(path: String, isHashed: Bool = false) throws(CheckpointError) {
    self.path = path
    hasher = isHashed ? SHA256() : nil
    var status = stat()
    let isThere = stat(path, &status) == 0
    switch isThere ? status.st_mode & S_IFMT : S_IFREG {
    case S_IFREG:
      destination = try Self.followed(path, isThere: isThere)
      let partial = destination + Self.partialSuffix
      partialPath = partial
      unlink(partial)
      descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      // Who may read the file that is replaced may read the new one, and nobody else.
      if descriptor >= 0, isThere { fchmod(descriptor, status.st_mode & 0o7777) }
    case S_IFDIR:
      throw CheckpointError(.occupied, path: path, "is a folder; give the name of a file")
    default:
      destination = path
      partialPath = nil
      descriptor = open(path, O_WRONLY | O_CLOEXEC)
    }
    guard descriptor >= 0 else { throw .writing("create", path: path) }
  }

  /// Writes a whole file.
  package static func write(_ bytes: [UInt8], to path: String) throws(CheckpointError) {
    let file = try OutputFile(path: path)
    let result = bytes.withUnsafeBytes { bytes in
      Result { () throws(CheckpointError) in try file.write(bytes) }
    }
    try result.get()
    _ = try file.finish()
  }

  /// The name that a chain of links ends at, which need not exist.
  private static func followed(_ path: String, isThere: Bool) throws(CheckpointError) -> String {
    if isThere {
      guard let resolved = realpath(path, nil) else { throw .system("resolve", path: path) }
      defer { free(resolved) }
      return String(cString: resolved)
    }
    var path = path
    // As many as the system follows.
    for _ in 0..<40 {
      var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
      guard readlink(path, &target, target.count - 1) >= 0 else { return path }
      let bytes = target.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      let text = String(decoding: bytes, as: UTF8.self)
      path = text.hasPrefix("/") ? text : "\(FileSystem.parent(path))/\(text)"
    }
    throw .system("follow the links of", path: path, errorNumber: ELOOP)
  }

  /// Appends bytes.
  ///
  /// - Throws: `CheckpointError` naming the file and how many bytes fitted; the partial file is
  ///   removed, and nothing more can be written.
  package func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
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
  package func finish() throws(CheckpointError) -> Summary {
    try requireOpen()
    // Devices and pipes have nothing to flush, and say so.
    guard fsync(descriptor) == 0 || partialPath == nil else {
      throw fail("flush \(byteCount) bytes")
    }
    let closed = close(descriptor)
    descriptor = -1
    guard closed == 0, partialPath.map({ rename($0, destination) == 0 }) ?? true else {
      throw fail("finish")
    }
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
    if let partialPath { unlink(partialPath) }
  }

  deinit {
    if descriptor >= 0 { discard() }
  }
}
