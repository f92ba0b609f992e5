public import XTunerTokenizers

/// Messages with the tools that were offered in them.
public struct Conversation: Sendable, Hashable {
  /// The messages in order.
  public var messages: [ChatMessage]
  /// Tool declarations in the OpenAI layout.
  public var tools: [JSONValue]

  /// Describes a conversation.
  public init(messages: [ChatMessage], tools: [JSONValue] = []) {
    self.messages = messages
    self.tools = tools
  }
}

/// What a record is trained as.
public enum RecordContent: Sendable, Hashable {
  /// A conversation, to be written in a chat format.
  case conversation(Conversation)
  /// Text as it is, for pre-training.
  case text(String)
}
