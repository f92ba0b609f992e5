import Glibc

/// A checkpoint that cannot be read or written.
public struct CheckpointError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of problem it is.
  public enum Code: String, Sendable, Hashable {
    /// The operating system refused to read, map or list.
    case inputOutput
    /// There is no room left, on the device or in the quota.
    case noSpace
    /// A file's content breaks its format: truncated, overlapping, not JSON.
    case damaged
    /// A file or tensor that another file names is absent.
    case missing
    /// The content is well formed but not what was asked for: wrong shape, type or version.
    case mismatch
    /// The destination exists, or another process is writing to it.
    case occupied
    /// A file or folder cannot be made, written, renamed or removed, though there is room.
    case unwritable
  }

  /// What kind of problem it is.
  public var code: Code
  /// The file or folder it concerns.
  public var path: String
  /// What is wrong, with the value found and what was expected.
  public var reason: String

  /// A problem with a file or folder.
  public init(_ code: Code, path: String, _ reason: String) {
    self.code = code
    self.path = path
    self.reason = reason
  }

  /// The file, then what is wrong with it.
  public var description: String { "\(path): \(reason)" }

  /// A refusal by the operating system, from `errno` right after the call.
  static func system(_ action: String, path: String, errorNumber: Int32 = errno) -> CheckpointError
  {
    let isFull = [ENOSPC, EDQUOT, EFBIG].contains(errorNumber)
    let text = strerror(errorNumber).map { String(cString: $0) } ?? "error \(errorNumber)"
    return CheckpointError(
      isFull ? .noSpace : errorNumber == ENOENT ? .missing : .inputOutput, path: path,
      "cannot \(action): \(text)")
  }

  /// A refusal to make, write, rename or remove, from `errno` right after the call.
  static func writing(
    _ action: String, path: String, errorNumber: Int32 = errno
  ) -> CheckpointError {
    var error = system(action, path: path, errorNumber: errorNumber)
    if error.code != .noSpace { error.code = .unwritable }
    return error
  }
}
