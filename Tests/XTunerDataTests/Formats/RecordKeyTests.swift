import Testing
import XTunerTokenizers

@testable import XTunerData

/// The census of the keys of data records: each is used, passed over for a reason, or told.
struct RecordKeyTests {
  private let records: [(format: DataFormat, record: JSONValue)] = [
    (
      .messages,
      [
        "messages": [
          ["role": "user", "content": [["type": "text", "text": "q"]]],
          [
            "role": "assistant",
            "tool_calls": [["function": ["name": "f", "arguments": ["a": 1]]]],
          ],
        ]
      ]
    ),
    (.shareGPT, ["conversations": [["from": "human", "value": "q"]]]),
    (.alpaca, ["instruction": "q", "output": "a"]),
    (.text, ["text": "a"]),
  ]

  /// A value that makes a difference wherever a key is used.
  private func telling(_ key: String) -> JSONValue {
    switch key {
    case "loss": false
    case "weight": 0
    case "tools", "functions": [["name": "g"]]
    case "role": "tool"
    case "from": "gpt"
    case "type": "image"
    case "history": [["a", "b"]]
    case "messages": [["role": "user", "content": "other"]]
    case "conversations": [["role": "user", "from": "gpt", "content": "other", "value": "other"]]
    case "tool_calls": [["name": "g"]]
    case "function", "function_call": ["name": "g"]
    case "arguments": ["b": 2]
    default: "other"
    }
  }

  private func outcome(_ record: JSONValue, _ format: DataFormat) -> String {
    let raw = RawRecord(content: .json(record), file: "a.jsonl", line: 1)
    do throws(FormatError) {
      return "\(try RecordConverter.content(of: raw, format: format))"
    } catch {
      return "refused: \(error.message)"
    }
  }

  /// The record with a key set at a place; nil where the format has no such place.
  private func with(
    _ key: String, at place: RecordKeys.Place, in record: JSONValue, _ format: DataFormat
  ) -> JSONValue? {
    let path: [String] =
      switch (place, format) {
      case (.record, _): []
      case (.message, .messages): key == "content" ? ["messages", "0"] : ["messages", "1"]
      case (.part, .messages): ["messages", "0", "content", "0"]
      case (.call, .messages): ["messages", "1", "tool_calls", "0"]
      case (.function, .messages): ["messages", "1", "tool_calls", "0", "function"]
      case (.message, .shareGPT): ["conversations", "0"]
      default: ["none"]
      }
    // A call without `function` has name and arguments itself.
    var record = record
    if place == .call, ["name", "arguments"].contains(key) {
      record = setting(
        record, ["messages", "1", "tool_calls", "0"], to: ["name": "f", "arguments": ["a": 1]])
    }
    // The list under its other name, which counts where the first is absent.
    if place == .record, format == .messages, key == "conversations" { record = [:] }
    return path == ["none"] ? nil : setting(record, path + [key], to: telling(key))
  }

  private func setting(_ value: JSONValue, _ path: [String], to new: JSONValue) -> JSONValue {
    guard let first = path.first else { return new }
    if var elements = value.arrayValue, let index = Int(first) {
      elements[index] = setting(elements[index], Array(path.dropFirst()), to: new)
      return .array(elements)
    }
    var object = value.objectValue ?? JSONObject()
    object[first] = setting(object[first] ?? [:], Array(path.dropFirst()), to: new)
    return .object(object)
  }

  @Test func everyKeyThatIsListedAsUsedMakesADifference() {
    for (format, record) in records {
      let plain = outcome(record, format)
      #expect(!plain.hasPrefix("refused"), "\(plain)")
      for place in RecordKeys.Place.allCases {
        for key in RecordKeys.used(place, format) {
          guard let changed = with(key, at: place, in: record, format) else { continue }
          var base = record
          if place == .call, ["name", "arguments"].contains(key) {
            base = setting(
              record, ["messages", "1", "tool_calls", "0"],
              to: ["name": "f", "arguments": ["a": 1]])
          }
          #expect(
            outcome(changed, format) != outcome(base, format),
            "\(key) of a \(place.rawValue) of \(format.rawValue)")
        }
      }
    }
  }

  @Test func everyOtherKeyIsToldWithItsPlace() {
    for (format, record) in records {
      #expect(RecordKeys.unused(in: record, format: format) == [])
      for place in RecordKeys.Place.allCases {
        guard let changed = with("train", at: place, in: record, format) else { continue }
        let told = RecordKeys.unused(in: changed, format: format)
        #expect(told.count == 1 && told[0].hasSuffix("train"), "\(place) of \(format): \(told)")
        #expect(outcome(changed, format) == outcome(record, format))
      }
    }
    #expect(
      RecordKeys.unused(
        in: ["messages": [["role": "user", "content": "q", "train": false, "refusal": ""]]],
        format: .messages) == ["messages[].train"])
  }

  @Test func keysThatArePassedOverHaveAReason() {
    #expect(
      RecordKeys.ignored(.record).map(\.key) == [
        "id", "idx", "index", "uuid", "source", "dataset", "subset", "split", "url", "language",
        "lang", "meta", "metadata", "timestamp", "parallel_tool_calls",
      ])
    #expect(RecordKeys.ignored(.message).map(\.key) == ["id"])
    #expect(RecordKeys.ignored(.call).map(\.key) == ["type", "index"])
    for place in RecordKeys.Place.allCases {
      #expect(RecordKeys.ignored(place).allSatisfy { !$0.reason.isEmpty })
    }
    let record: JSONValue = ["id": 7, "source": "web", "text": "a"]
    #expect(RecordKeys.unused(in: record, format: .text) == [])
  }

  @Test func aReaderTellsEachUnusedKeyOnce() throws {
    let folder = try TemporaryFolder()
    let line = #"{"text": "a", "quality": 0.5, "empty": []}"#
    let file = try folder.write("a.jsonl", "\(line)\n\(line)\n")
    let reader = try RecordReader(source: RecordSource(paths: [file]))
    while try reader.next() != nil {}
    #expect(reader.unusedKeys == ["quality"])
  }
}
