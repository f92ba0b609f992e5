import XTunerTokenizers

@testable import XTunerData

/// A tokenizer of one id a byte, and a template of `<role>content;` with loss on the assistant.
func byteTokenizer(_ options: TokenizingOptions) -> SampleTokenizer {
  SampleTokenizer(
    options: options,
    encode: { $0.utf8.map { Int32($0) } },
    tokenText: { String(UnicodeScalar(UInt8(clamping: $0))) },
    segments: { conversation in
      try conversation.messages.flatMap { message in
        guard message.role != "broken" else { throw BrokenRole() }
        let hasLoss = message.role == "assistant"
        return [
          ChatSegment(text: "<\(message.role.prefix(1))>", carriesLoss: false),
          ChatSegment(text: message.content, carriesLoss: hasLoss),
          ChatSegment(text: ";", carriesLoss: hasLoss),
        ]
      }
    })
}

struct BrokenRole: Error, CustomStringConvertible {
  var description: String { "the role is broken" }
}

func textRecord(_ text: String, file: String = "data.jsonl", line: Int = 1) -> Record {
  Record(content: .text(text), file: file, line: line)
}

func chatRecord(
  _ turns: [(String, String)], file: String = "chat.jsonl", line: Int = 1
) -> Record {
  let messages = turns.map { ChatMessage(role: $0.0, content: $0.1) }
  return Record(
    content: .conversation(Conversation(messages: messages, tools: [])), file: file, line: line)
}
