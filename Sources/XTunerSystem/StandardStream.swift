import Glibc

/// A stream of the process that people read, or programs that people have put behind it.
///
/// It may go away while the process is at work: a reader ends, a terminal closes, a disk fills. That
/// costs the text and nothing else, so writing returns what went wrong and never traps.
public enum StandardStream: Int32, Sendable {
  /// Results.
  case output = 1
  /// Progress, notes and errors.
  case error = 2

  /// Writes all of a text.
  ///
  /// - Returns: The error number of the failure; nil when all is written.
  @discardableResult
  public func write(_ text: String) -> Int32? {
    WholeWrite.write(Array(text.utf8), to: rawValue)
  }

  /// Lets writing to a reader that is gone fail, where it would end the process.
  ///
  /// For programs that have more to do than to write: filters such as `xtuner data inspect | head` end
  /// by the signal, as all filters do. A terminal's other process group may write to it as well,
  /// whatever `stty tostop` says.
  public static func outliveReaders() {
    signal(SIGPIPE, SIG_IGN)
    signal(SIGTTOU, SIG_IGN)
  }

  /// Takes the places of standard streams that were closed before the program began.
  ///
  /// The next file to be opened would get such a place otherwise, and messages would go into it. Using
  /// the stream fails as before.
  public static func reserveDescriptors() {
    for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) == -1 && errno == EBADF {
      // The wrong way round on purpose, and the lowest free number: this one.
      _ = open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY)
    }
  }
}

/// Writing to descriptors that takes as many calls as it needs.
public enum WholeWrite {
  /// Writes all bytes; waits where the descriptor does not.
  ///
  /// - Returns: The error number of the failure; nil when all is written.
  public static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
    var written = 0
    while written < bytes.count {
      let count = bytes[written...].withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == EAGAIN {
        // Somebody who shares the terminal or pipe has made it so.
        var event = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&event, 1, -1)
        continue
      }
      guard count > 0 else { return count < 0 ? errno : EIO }
      written += count
    }
    return nil
  }
}
