import Foundation

/// A run directory, or a file in it, that cannot be used.
public struct RunDirectoryError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of failure it is, without values.
  public enum Code: Sendable, Equatable {
    /// The directory cannot be made, or files cannot be written into it.
    case unwritable
    /// Another process trains in the directory.
    case inUse
    /// The disk is full, or a quota is reached.
    case noSpace
    /// A file of the run holds what this program did not write.
    case damaged
    /// The directory holds another run.
    case occupied
    /// The directory's name leads to another one, or nowhere, while the run goes on.
    case moved
  }

  /// What kind of failure it is.
  public var code: Code
  /// The file or directory.
  public var path: String
  /// What is wrong and what would work.
  public var reason: String

  /// Creates an error about a path.
  public init(code: Code, path: String, reason: String) {
    self.code = code
    self.path = path
    self.reason = reason
  }

  /// The path and what is wrong with it.
  public var description: String { "\(path): \(reason)" }

  /// The failure of a system call, in words that say what would work.
  ///
  /// - Parameters:
  ///   - path: The file or directory.
  ///   - action: What was tried: `create`, `write`.
  ///   - errorNumber: The value of `errno`.
  /// - Returns: The error to throw.
  package static func system(path: String, action: String, errorNumber: Int32) -> RunDirectoryError
  {
    let cause = String(cString: strerror(errorNumber))
    switch errorNumber {
    case ENOSPC, EDQUOT:
      return .init(
        code: .noSpace, path: path,
        reason: "cannot \(action): \(cause); free space, or set run.directory to another disk")
    case ENOTDIR, EEXIST:
      return .init(
        code: .unwritable, path: path,
        reason: "cannot \(action): a file is in the way; set run.directory to another path")
    default:
      return .init(
        code: .unwritable, path: path,
        reason: "cannot \(action): \(cause); set run.directory to a folder you can write")
    }
  }
}
