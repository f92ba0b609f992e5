internal import XTunerText

extension ChatTemplate {
  /// The marks that this template writes, such as `<|im_start|>`, each of which is meant to be one
  /// token: those of a short conversation, and those of tools where the template has them.
  public var marks: [String] {
    let question = ChatMessage(role: "user", content: "a")
    let answer = ChatMessage(role: "assistant", content: "b")
    let call = ChatMessage(
      role: "assistant", content: "b",
      toolCalls: [ToolCall(id: "functions.f:0", name: "f", arguments: ["c": 1])])
    let result = ChatMessage(role: "tool", content: "d", toolCallID: "functions.f:0", name: "f")
    let system = ChatMessage(role: "system", content: "e")
    let tool: JSONValue = ["type": "function", "function": ["name": "f", "parameters": [:]]]
    let conversations: [(messages: [ChatMessage], tools: [JSONValue])] = [
      ([question, answer], []), ([system, question, answer], []),
      ([question, call, result, answer], []), ([question, answer], [tool]),
    ]
    var seen: Set<ExactText> = []
    var marks: [String] = []
    for (messages, tools) in conversations {
      // What a template has no place for it writes no marks for.
      guard let segments = try? segments(messages, tools: tools) else { continue }
      for mark in segments.flatMap({ Self.marks(in: $0.text) }) where seen.insert(mark).inserted {
        marks.append(mark)
      }
    }
    return marks
  }

  /// The marks that are not one token of `tokenizer`, which would be learned letter by letter.
  public func missingMarks(in tokenizer: Tokenizer) throws(TokenizerError) -> [String] {
    var missing: [String] = []
    for mark in marks {
      let ids = try tokenizer.encode(mark)
      if ids.count != 1 { missing.append(mark) }
    }
    return missing
  }

  /// Texts such as `<|name|>`, also with the wide bars of DeepSeek (U+FF5C).
  private static func marks(in text: String) -> [String] {
    func isBar(_ scalar: Unicode.Scalar?) -> Bool { scalar == "|" || scalar == "\u{FF5C}" }
    var marks: [String] = []
    // From the last `<` on, as long as a bar follows it and no white space comes.
    var mark: [Unicode.Scalar] = []
    for scalar in text.unicodeScalars {
      if scalar == "<" {
        mark = [scalar]
      } else if mark.count == 1 && !isBar(scalar) || scalar.properties.isWhitespace {
        mark = []
      } else if !mark.isEmpty {
        let isEnd = scalar == ">" && mark.count > 2 && isBar(mark.last)
        mark.append(scalar)
        guard isEnd else { continue }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: mark)
        marks.append(String(view))
        mark = []
      }
    }
    return marks
  }
}
