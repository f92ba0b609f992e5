import Glibc

/// A whole file mapped into memory, read only.
///
/// The mapping lives as long as the object. A file that another process shortens afterwards makes
/// the process stop at the first access past its new end; checkpoints are therefore replaced by
/// renaming, never rewritten in place.
public final class MappedFile: Sendable {
  /// The path it was opened under.
  public let path: String
  /// Its size in bytes.
  public let byteCount: Int
  private let address: UInt

  /// Maps a file.
  ///
  /// - Throws: `CheckpointError` where the path is not a readable regular file.
  public init(path: String) throws(CheckpointError) {
    // Without O_NONBLOCK a named pipe that nobody writes to would be waited for without end.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .system("open", path: path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system("inspect", path: path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw CheckpointError(.inputOutput, path: path, "is not a regular file")
    }
    self.path = path
    byteCount = Int(status.st_size)
    guard byteCount > 0 else {
      address = 0
      return
    }
    let mapping = mmap(nil, byteCount, PROT_READ, MAP_SHARED, descriptor, 0)
    guard let mapping, mapping != MAP_FAILED else { throw .system("map", path: path) }
    address = UInt(bitPattern: mapping)
  }

  /// Calls a closure with the bytes, and keeps the mapping until it returns.
  public func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    // A plain use of `bytes` may outlive the last reference to the object.
    defer { withExtendedLifetime(self) {} }
    return try body(bytes)
  }

  /// The bytes, valid while this object is alive, which the caller sees to.
  var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: byteCount)
  }

  /// Asks the system to read a part ahead of its use; a hint without result.
  public func prefetch(_ range: Range<Int>) {
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let lower = max(range.lowerBound, 0) / pageSize * pageSize
    let upper = min(range.upperBound, byteCount)
    guard lower < upper else { return }
    let start = UnsafeMutableRawPointer(bitPattern: address + UInt(lower))
    _ = madvise(start, upper - lower, MADV_WILLNEED)
  }

  deinit {
    if byteCount > 0 { munmap(UnsafeMutableRawPointer(bitPattern: address), byteCount) }
  }
}
