import Glibc

/// A problem of the tokenised cache on disk.
public struct TokenCacheError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kinds of problem, for programs and metrics.
  public enum Code: String, Sendable {
    case notFound, unusable, diskFull, fileSystem, sourceChanged
  }

  /// What went wrong.
  public let code: Code
  /// The path, the value and what would work.
  public let message: String

  /// Makes an error of `code` with a message for people.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }

  /// The error of a system call that has just failed with `number`.
  static func system(_ action: String, path: String, errno number: Int32) -> TokenCacheError {
    switch number {
    case ENOSPC, EDQUOT:
      TokenCacheError(
        .diskFull,
        """
        \(action) \(path): the disk is full; free some space or set the cache folder to another \
        disk (nothing half-written is kept)
        """)
    case ENOENT:
      TokenCacheError(.notFound, "\(action) \(path): there is no such file or folder")
    default:
      TokenCacheError(.fileSystem, "\(action) \(path): \(String(cString: strerror(number)))")
    }
  }
}
