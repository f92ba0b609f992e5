import Glibc

/// An open file or folder, closed when this goes away.
struct OwnedDescriptor: ~Copyable {
  let number: Int32
  let path: String

  /// Opens `path`; `mode` is used only with O_CREAT.
  init(path: String, flags: Int32, mode: mode_t = 0o666) throws(TokenCacheError) {
    let number = open(path, flags | O_CLOEXEC, mode)
    guard number >= 0 else {
      throw TokenCacheError.system("open", path: path, errno: errno)
    }
    self.number = number
    self.path = path
  }

  /// Opens a file of the folder `folder`, whatever the folder's name has become meanwhile.
  init(
    name: String, in folder: borrowing OwnedDescriptor, flags: Int32
  ) throws(TokenCacheError) {
    path = "\(folder.path)/\(name)"
    number = openat(folder.number, name, flags | O_CLOEXEC)
    guard number >= 0 else {
      throw TokenCacheError.system("open", path: path, errno: errno)
    }
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
