/// Why a conversation cannot be written in a chat format.
public struct ChatTemplateError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of fault it is, for programs.
  public enum Code: String, Sendable, Hashable {
    /// No template has the asked name.
    case unknownTemplate
    /// A setting that the template has no place for.
    case unsupportedSetting
    /// A conversation without messages.
    case emptyConversation
    /// A role that the template does not know, or at a place where it is not allowed.
    case invalidRole
    /// Reasoning where the template has no place for it.
    case unsupportedReasoning
    /// Tools, calls or results that the template cannot express.
    case unsupportedTools
    /// A file that holds a template and cannot be read.
    case unreadableTemplate
    /// A tool result that answers no call.
    case unmatchedToolResult
  }

  /// What kind of fault it is.
  public let code: Code
  /// What is wrong, with the place and what would work.
  public let message: String
  /// Index of the message at fault, counted from 0; nil when no single message is.
  public let messageIndex: Int?

  init(_ code: Code, _ message: String, messageIndex: Int? = nil) {
    self.code = code
    self.message = message
    self.messageIndex = messageIndex
  }

  /// The message, preceded by its place: `messages[3]: ...`.
  public var description: String {
    messageIndex.map { "messages[\($0)]: \(message)" } ?? message
  }
}
