import XTunerTokenizers

/// The keys of records: which are used, and which are passed over and why.
///
/// Any other key that holds something is told once for a data source, since it may have been meant
/// to change what is trained.
struct RecordKeys {
  /// Where in a record a key stands.
  enum Place: String, CaseIterable {
    case record, message, part, call, function
  }

  /// Keys that only media bring; a record with such is refused.
  static let media = ["image", "images", "video", "videos", "audio", "audios"]

  /// The keys that are read at a place of a format.
  static func used(_ place: Place, _ format: DataFormat) -> [String] {
    switch (place, format) {
    case (.record, .messages):
      ["system", "tools", "functions", "loss", "weight"] + MessagesFormat.listKeys + media
    case (.record, .shareGPT):
      ["conversations", "system", "tools", "functions", "loss", "weight"] + media
    case (.record, .alpaca):
      [
        "instruction", "input", "output", "system", "history", "tools", "functions", "loss",
        "weight",
      ]
        + media
    case (.record, .text), (.record, .auto): ["text", "loss", "weight"] + media
    case (.message, .messages):
      [
        "role", "content", "reasoning_content", "reasoning", "thinking", "tool_calls",
        "function_call", "tool_call_id", "name", "loss", "weight",
      ] + media
    case (.message, .shareGPT): ["from", "value", "loss", "weight"]
    case (.part, .messages): ["type", "text"]
    case (.call, .messages): ["id", "function", "name", "arguments"]
    case (.function, .messages), (.function, .shareGPT): ["name", "arguments"]
    default: []
    }
  }

  /// The keys that are passed over at a place without a word, with the reason.
  static func ignored(_ place: Place) -> [(key: String, reason: String)] {
    switch place {
    case .record:
      ["id", "idx", "index", "uuid"].map { ($0, "names the record") }
        + [
          "source", "dataset", "subset", "split", "url", "language", "lang", "meta", "metadata",
          "timestamp",
        ].map { ($0, "tells where the record is from") }
        + [("parallel_tool_calls", "is a setting of requests, not a part of the text")]
    case .message: [("id", "names the message")]
    case .call: [("type", "is always `function`"), ("index", "repeats the place in the list")]
    case .part, .function: []
    }
  }

  /// The keys of a record that hold something and are neither used nor passed over, as places such
  /// as `messages[].train`.
  static func unused(in value: JSONValue, format: DataFormat) -> [String] {
    var found: [String] = []
    func look(_ value: JSONValue?, _ place: Place, _ path: String) {
      guard let object = value?.objectValue else { return }
      for entry in object.entries where !isEmpty(entry.value) {
        guard !used(place, format).contains(where: { $0 == entry.key }),
          !ignored(place).contains(where: { $0.key == entry.key })
        else { continue }
        found.append("\(path)\(entry.key)")
      }
    }
    switch format {
    case .messages:
      let key = MessagesFormat.listKey(of: value)
      look(value, .record, "")
      for other in MessagesFormat.listKeys where other != key {
        if let list = value[other], !isEmpty(list) { found.append(other) }
      }
      for message in (value.arrayValue ?? value[key]?.arrayValue ?? []) {
        look(message, .message, "\(key)[].")
        for part in message["content"]?.arrayValue ?? [] {
          look(part, .part, "\(key)[].content[].")
        }
        for call in message["tool_calls"]?.arrayValue ?? [] {
          look(call, .call, "\(key)[].tool_calls[].")
          look(call["function"], .function, "\(key)[].tool_calls[].function.")
        }
        look(message["function_call"], .function, "\(key)[].function_call.")
      }
    case .shareGPT:
      look(value, .record, "")
      for message in value["conversations"]?.arrayValue ?? [] {
        look(message, .message, "conversations[].")
      }
    case .alpaca, .text, .auto: look(value, .record, "")
    }
    return found
  }

  private static func isEmpty(_ value: JSONValue) -> Bool {
    switch value {
    case .null: true
    case .string(let text): text.isEmpty
    case .array(let elements): elements.isEmpty
    case .object(let object): object.isEmpty
    case .bool, .integer, .bigInteger, .double: false
    }
  }
}

/// Keys of a data source's records that nothing reads, each told once.
struct UnusedKeys {
  /// More different ones are not remembered: such records are no records of this format.
  static let limit = 20
  private(set) var names: [String] = []
  private var seen: Set<[UInt8]> = []

  mutating func note(_ record: RawRecord, format: DataFormat) {
    guard names.count < Self.limit, case .json(let value) = record.content else { return }
    for name in RecordKeys.unused(in: value, format: format)
    where names.count < Self.limit && seen.insert(Array(name.utf8)).inserted {
      names.append(name)
    }
  }
}
