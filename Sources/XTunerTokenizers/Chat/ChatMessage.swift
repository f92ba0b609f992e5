/// A call of a tool by the model.
public struct ToolCall: Sendable, Hashable {
  /// Identifies the call, so that its result can name it; nil when the data has none.
  public var id: String?
  /// Name of the called function.
  public var name: String
  /// The arguments, normally an object.
  ///
  /// A string is written into the text as it is, unquoted.
  public var arguments: JSONValue

  /// Describes one call.
  public init(id: String? = nil, name: String, arguments: JSONValue) {
    self.id = id
    self.name = name
    self.arguments = arguments
  }

  /// The arguments as the templates write them.
  var argumentsText: String { arguments.stringValue ?? arguments.text() }
}

/// One message of a conversation.
public struct ChatMessage: Sendable, Hashable {
  /// `system`, `developer`, `user`, `assistant`, `tool`, or `pretrain` for raw text.
  public var role: String
  /// The text that is shown to the other side.
  public var content: String
  /// What the assistant thought before it answered; nil when unknown.
  public var reasoningContent: String?
  /// Calls the assistant made at the end of this message.
  public var toolCalls: [ToolCall]
  /// For a `tool` message, the id of the call it answers.
  public var toolCallID: String?
  /// A name for the speaker or the tool, where the template has a place for it.
  public var name: String?
  /// Whether this message is learned; nil leaves it to the template (assistant yes, others no).
  public var loss: Bool?

  /// Describes one message.
  public init(
    role: String, content: String = "", reasoningContent: String? = nil,
    toolCalls: [ToolCall] = [], toolCallID: String? = nil, name: String? = nil, loss: Bool? = nil
  ) {
    self.role = role
    self.content = content
    self.reasoningContent = reasoningContent
    self.toolCalls = toolCalls
    self.toolCallID = toolCallID
    self.name = name
    self.loss = loss
  }
}

/// A piece of a rendered conversation.
public struct ChatSegment: Sendable, Hashable {
  /// The text, special tokens included.
  public var text: String
  /// Whether the tokens of this text are labels in training.
  public var carriesLoss: Bool

  /// Describes one piece.
  public init(text: String, carriesLoss: Bool) {
    self.text = text
    self.carriesLoss = carriesLoss
  }
}

// MARK: - Codable, in the layout of the OpenAI API

extension ChatMessage: Codable {
  private enum CodingKeys: String, CodingKey {
    case role, content, name, loss
    case reasoningContent = "reasoning_content"
    case toolCalls = "tool_calls"
    case toolCallID = "tool_call_id"
  }

  private struct TextPart: Decodable {
    let type: String
    let text: String?
  }

  /// Reads the OpenAI layout; `content` may be a string, null or a list of text parts.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    role = try container.decode(String.self, forKey: .role)
    reasoningContent = try container.decodeIfPresent(String.self, forKey: .reasoningContent)
    toolCalls = try container.decodeIfPresent([ToolCall].self, forKey: .toolCalls) ?? []
    toolCallID = try container.decodeIfPresent(String.self, forKey: .toolCallID)
    name = try container.decodeIfPresent(String.self, forKey: .name)
    loss = try container.decodeIfPresent(Bool.self, forKey: .loss)
    if let parts = try? container.decode([TextPart].self, forKey: .content) {
      content = try parts.map { part in
        guard part.type == "text", let text = part.text else {
          throw DecodingError.dataCorruptedError(
            forKey: .content, in: container,
            debugDescription: "content part of type \"\(part.type)\": only text parts are supported"
          )
        }
        return text
      }.joined()
    } else {
      content = try container.decodeIfPresent(String.self, forKey: .content) ?? ""
    }
  }

  /// Writes the OpenAI layout; absent values are left out.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(role, forKey: .role)
    try container.encode(content, forKey: .content)
    try container.encodeIfPresent(reasoningContent, forKey: .reasoningContent)
    if !toolCalls.isEmpty { try container.encode(toolCalls, forKey: .toolCalls) }
    try container.encodeIfPresent(toolCallID, forKey: .toolCallID)
    try container.encodeIfPresent(name, forKey: .name)
    try container.encodeIfPresent(loss, forKey: .loss)
  }
}

extension ToolCall: Codable {
  private enum CodingKeys: String, CodingKey {
    case id, type, function
  }

  private struct Function: Codable {
    let name: String
    let arguments: String
  }

  /// Reads the OpenAI layout, in which the arguments are a string that holds JSON; it stays as it is.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let function = try container.decode(Function.self, forKey: .function)
    self.init(
      id: try container.decodeIfPresent(String.self, forKey: .id), name: function.name,
      arguments: .string(function.arguments))
  }

  /// Writes the OpenAI layout, with the arguments as a string that holds JSON.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encodeIfPresent(id, forKey: .id)
    try container.encode("function", forKey: .type)
    try container.encode(Function(name: name, arguments: argumentsText), forKey: .function)
  }
}
