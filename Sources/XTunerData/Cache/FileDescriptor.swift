import Glibc

/// An open file or folder, closed when this goes away.
struct OwnedDescriptor: ~Copyable {
  let number: Int32
  let path: String

  /// Opens `path`; `mode` is used only with O_CREAT.
  init(path: String, flags: Int32, mode: mode_t = 0o666) throws(TokenCacheError) {
    number = try Self.checked(open(path, flags | Self.always, mode), path: path, flags: flags)
    self.path = path
  }

  /// Opens a file of the folder `folder`, whatever the folder's name has become meanwhile.
  init(
    name: String, in folder: borrowing OwnedDescriptor, flags: Int32
  ) throws(TokenCacheError) {
    let path = "\(folder.path)/\(name)"
    number = try Self.checked(
      openat(folder.number, name, flags | Self.always), path: path, flags: flags)
    self.path = path
  }

  /// Without O_NONBLOCK a named pipe that nobody writes to would be waited for without end.
  private static let always = O_CLOEXEC | O_NONBLOCK

  /// The descriptor if it is one; of a file or folder where it is to be read.
  private static func checked(
    _ number: Int32, path: String, flags: Int32
  ) throws(TokenCacheError) -> Int32 {
    guard number >= 0 else {
      throw TokenCacheError.system("open", path: path, errno: errno)
    }
    guard flags & O_ACCMODE == O_RDONLY else { return number }
    var status = stat()
    let kind = fstat(number, &status) == 0 ? status.st_mode & S_IFMT : 0
    guard kind == S_IFREG || kind == S_IFDIR else {
      close(number)
      throw TokenCacheError(.fileSystem, "open \(path): is not a regular file")
    }
    return number
  }

  deinit {
    close(number)
  }

  /// Size of the file in bytes.
  func byteCount() throws(TokenCacheError) -> Int {
    var status = stat()
    guard fstat(number, &status) == 0 else {
      throw TokenCacheError.system("read the size of", path: path, errno: errno)
    }
    return Int(status.st_size)
  }

  /// Waits until the contents are on the disk.
  func synchronize() throws(TokenCacheError) {
    guard fsync(number) == 0 else {
      throw TokenCacheError.system("write", path: path, errno: errno)
    }
  }

  /// Writes all bytes at the file's end.
  func write(_ bytes: UnsafeRawBufferPointer) throws(TokenCacheError) {
    var written = 0
    while written < bytes.count {
      let part = UnsafeRawBufferPointer(rebasing: bytes[written...])
      let count = Glibc.write(number, part.baseAddress, part.count)
      if count < 0 {
        guard errno == EINTR else {
          throw TokenCacheError.system("write", path: path, errno: errno)
        }
      } else {
        written += count
      }
    }
  }

  /// Takes the file's advisory lock if nobody holds it; it ends with the descriptor or the process.
  func tryLock() -> Bool {
    flock(number, LOCK_EX | LOCK_NB) == 0
  }
}
