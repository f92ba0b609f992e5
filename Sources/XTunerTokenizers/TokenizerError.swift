/// A tokenizer file that cannot be read or honoured, or text that cannot be trained on.
///
/// The message names the file, the key inside it, the value found and what would work.
public struct TokenizerError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of problem it is.
  public enum Code: String, Sendable {
    /// A file or folder does not exist or cannot be read or written.
    case unreadable
    /// A file is not what its format says: truncated, not JSON, not UTF-8, not base64.
    case malformed
    /// A file asks for something that is not implemented here.
    case unsupported
    /// Two parts of a file contradict each other, such as vocabulary and merges.
    case inconsistent
    /// An argument of the caller cannot work.
    case invalidArgument
  }

  /// The kind of problem.
  public let code: Code
  /// The file the problem is in, as given by the caller; empty when there is none.
  public let file: String
  /// The key inside the file, such as `model.merges[3]`; empty when there is none.
  public let key: String
  /// What is wrong, with the value, and what would work.
  public let message: String

  /// Makes an error of `code` about `key` in `file`.
  public init(_ code: Code, file: String = "", key: String = "", _ message: String) {
    self.code = code
    self.file = file
    self.key = key
    self.message = message
  }

  /// This error with a file, where it has none.
  func located(in file: String) -> TokenizerError {
    self.file.isEmpty ? TokenizerError(code, file: file, key: key, message) : self
  }

  /// File, key and message in one line.
  public var description: String {
    [file, key, message].filter { !$0.isEmpty }.joined(separator: ": ")
  }

  /// The kind of problem without values, for metrics and logs that must not contain data.
  public var shortDescription: String { "tokenizer \(code.rawValue)" }
}
