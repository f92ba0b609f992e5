import Foundation
import Testing
import XTunerTokenizers

struct JSONValueTests {
  @Test(arguments: [
    (#"{"b":1,"a":[true,null,"é\n\u00e9\ud83d\ude00"]}"#, #"{"b": 1, "a": [true, null, "é\né😀"]}"#),
    ("  [ ]\r\n", "[]"), ("{}", "{}"),
    (
      "[9007199254740993, -9223372036854775808, 123456789012345678901234567890]",
      "[9007199254740993, -9223372036854775808, 123456789012345678901234567890]"
    ),
    (
      "[1.0, 0.1, 1e3, 1e16, 12345678901234567.0, 1e22, 0.0001, 0.00001, -2.5e-7, 5e-324]",
      "[1.0, 0.1, 1000.0, 1e+16, 1.2345678901234568e+16, 1e+22, 0.0001, 1e-05, -2.5e-07, 5e-324]"
    ),
    (
      "[-0.0, -0, 1.7976931348623157e308, 999999999999999.9, 9999999999999998.0]",
      "[-0.0, 0, 1.7976931348623157e+308, 999999999999999.9, 9999999999999998.0]"
    ),
    (#""\/\b\f\t\r\"\\\u0001\u007f""#, #""/\b\f\t\r\"\\\u0001\#u{7f}""#),
  ])
  func printsAsPythonDoes(_ text: String, _ expected: String) throws {
    #expect(try JSONValue(parsing: text).text() == expected)
  }

  @Test func canonicallyEquivalentKeysAndTextsAreDifferent() throws {
    for filler in ["", (0..<11).map { "\"k\($0)\":0," }.joined()] {
      let value = try JSONValue(parsing: "{\(filler)\"\u{E9}\":3,\"e\u{301}\":5}")
      #expect(value["\u{E9}"] == 3)
      #expect(value["e\u{301}"] == 5)
      #expect(throws: JSONError.self) {
        try JSONValue(parsing: "{\(filler)\"\u{E9}\":3,\"\\u00e9\":5}")
      }
    }
    #expect(JSONValue.string("\u{E9}") != .string("e\u{301}"))
    #expect((["\u{E9}": 1] as JSONValue) != ["e\u{301}": 1])
    let values: Set<JSONValue> = ["\u{F914}", "\u{6A02}"]
    #expect(values.count == 2)
  }

  @Test func compactStyleHasNoSpaces() throws {
    let value: JSONValue = ["a": [1, "x y"], "b": ["c": .null]]
    #expect(value.text(style: .compact) == #"{"a":[1,"x y"],"b":{"c":null}}"#)
  }

  @Test(arguments: [
    ("", 1, 1), ("[1,]", 1, 4), ("{\"a\":1,}", 1, 8), ("{\"a\" 1}", 1, 6), ("[1 2]", 1, 4),
    ("{\n \"a\": tru\n}", 2, 7), ("01", 1, 1), ("-", 1, 2), ("1.", 1, 3), ("1e", 1, 3),
    ("1e999", 1, 1), ("\"abc", 1, 1), ("\"a\u{1}\"", 1, 3), ("\"\\x\"", 1, 2),
    ("\"\\ud800\"", 1, 2), ("\"\\ud800\\u0041\"", 1, 2), ("\"\\u12g4\"", 1, 6), ("NaN", 1, 1),
    ("[] []", 1, 4), ("{\"a\":1,\"a\":2}", 1, 8), ("{'a':1}", 1, 2), ("nul", 1, 1), ("{", 1, 2),
    ("// c\n1", 1, 1), ("\u{FEFF}1", 1, 1),
  ])
  func refusesBrokenText(_ text: String, _ line: Int, _ column: Int) {
    let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
    #expect(error?.line == line)
    #expect(error?.column == column, "\(error?.description ?? "")")
  }

  @Test func findsDuplicatesAmongManyKeys() {
    let members = (0..<37).map { "\"k\($0)\": 0" }.joined(separator: ", ")
    #expect(throws: Never.self) { try JSONValue(parsing: "{\(members)}") }
    let error = #expect(throws: JSONError.self) {
      try JSONValue(parsing: "{\(members), \"k3\": 1}")
    }
    #expect(error?.message == "duplicate key \"k3\"")
  }

  @Test func refusesInvalidUTF8() {
    let bytes: [UInt8] = [0x22, 0x61, 0xFF, 0x22]
    let error = #expect(throws: JSONError.self) {
      try bytes.withUnsafeBufferPointer { try JSONValue(parsing: $0) }
    }
    #expect(error?.message == "the string is not valid UTF-8")
  }

  /// Eight bytes are looked at together: what ends a run of text is found at each place in them.
  @Test(arguments: 0..<19)
  func findsTheEndOfTextAtEveryPlace(length: Int) throws {
    let plain = String("\u{7F}!#[]^~ \u{E9}\u{20AC}abcdefghijklmnop".prefix(length))
    #expect(try JSONValue(parsing: "\"\(plain)\"") == .string(plain))
    #expect(try JSONValue(parsing: "\"\(plain)\\n\(plain)\"") == .string("\(plain)\n\(plain)"))
    #expect(
      try JSONValue(parsing: "\"\(plain)\\u20ac\\ud83d\\ude00\(plain)\"")
        == .string("\(plain)\u{20AC}\u{1F600}\(plain)"))
    let column = plain.utf8.count + 2
    for broken in ["\"\(plain)\u{1F}\"", "\"\(plain)\\q\(plain)\""] {
      let error = #expect(throws: JSONError.self) { try JSONValue(parsing: broken) }
      #expect(error?.column == column, "\(broken)")
    }
  }

  @Test func refusesInvalidUTF8BetweenEscapes() {
    for broken: [UInt8] in [[0xC3], [0xFF], [0xE2, 0x82]] {
      let bytes = Array("\"a\\nb".utf8) + broken + Array("\\tc\"".utf8)
      let error = #expect(throws: JSONError.self) {
        try bytes.withUnsafeBufferPointer { try JSONValue(parsing: $0) }
      }
      #expect(error?.message == "the string is not valid UTF-8")
    }
  }

  @Test func limitsTheDepth() throws {
    let deep = String(repeating: "[", count: 100_000)
    let error = #expect(throws: JSONError.self) { try JSONValue(parsing: deep) }
    #expect(error?.column == 257)
    let allowed = String(repeating: "[", count: 256) + String(repeating: "]", count: 256)
    #expect(try JSONValue(parsing: allowed).text() == allowed)
  }

  @Test func keepsOrderWhenEdited() {
    var object: JSONObject = ["z": 1, "a": 2]
    object["m"] = 3
    object["z"] = 4
    object["a"] = nil
    #expect(JSONValue.object(object).text() == #"{"z": 4, "m": 3}"#)
  }
}

struct ChatMessageCodableTests {
  @Test func readsAndWritesTheOpenAILayout() throws {
    let text = """
      {"role": "assistant", "content": null, "reasoning_content": "r", "loss": false,
       "tool_calls": [{"id": "c1", "type": "function",
         "function": {"name": "f", "arguments": "{\\"z\\": 1, \\"a\\": 2}"}}]}
      """
    let message = try JSONDecoder().decode(ChatMessage.self, from: Data(text.utf8))
    #expect(message.content == "")
    #expect(message.loss == false)
    #expect(message.toolCalls[0].arguments == .string(#"{"z": 1, "a": 2}"#))
    let again = try JSONDecoder().decode(
      ChatMessage.self, from: try JSONEncoder().encode(message))
    #expect(again == message)
  }

  @Test func joinsTextPartsAndRefusesImages() throws {
    let text = #"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#
    #expect(try JSONDecoder().decode(ChatMessage.self, from: Data(text.utf8)).content == "ab")
    let image = #"{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}"#
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(ChatMessage.self, from: Data(image.utf8))
    }
  }
}
