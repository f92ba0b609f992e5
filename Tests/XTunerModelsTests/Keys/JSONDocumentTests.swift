import Testing

@testable import XTunerModels

@Suite struct JSONDocumentTests {
  private func parse(_ text: String) throws -> JSONDocument {
    try JSONDocument(parsing: Array(text.utf8))
  }

  @Test func keepsKeyOrderAndDigits() throws {
    let text = #"{"b":1e-06,"a":[1.50,-0,true,null],"é":"\\n\"\n"}"#.replacing("\\n\"\n", with: "x")
    #expect(try parse(text).compactText() == text)
    #expect(try parse(" \n{ }\t").compactText() == "{}")
  }

  @Test func canonicallyEquivalentKeysAreDifferentKeys() throws {
    let text = "{\"\u{E9}\":3,\"e\u{301}\":5}"
    let document = try parse(text)
    #expect(document.object?["\u{E9}"]?.integer == 3)
    #expect(document.object?["e\u{301}"]?.integer == 5)
    #expect(Array(document.compactText().utf8) == Array(text.utf8))
    var object = try #require(document.object)
    object["e\u{301}"] = nil
    #expect(object.keys.map { Array($0.utf8) } == [Array("\u{E9}".utf8)])
  }

  @Test func keeps64BitIntegersExact() throws {
    #expect(try parse("9223372036854775807").integer == Int.max)
    #expect(try parse("9007199254740993").integer == 9_007_199_254_740_993)
    #expect(try parse("9223372036854775808").integer == nil)
    #expect(try parse("1e3").integer == 1000)
    #expect(try parse("1.5").integer == nil)
    #expect(try parse("1e999").real == nil)
  }

  @Test(arguments: [
    ("\"\\u00e9\\ud83d\\ude00\\/\\b\"", "é😀/\u{08}"), ("\"\"", ""), ("\"\u{7F}\"", "\u{7F}"),
  ])
  func readsEscapes(text: String, expected: String) throws {
    #expect(try parse(text).string == expected)
  }

  @Test func writesWhatItReads() throws {
    let value = JSONDocument.string("\u{01}\"\\\n\t\r é😀\u{1F}")
    #expect(try parse(value.compactText()) == value)
    let nested = try parse(#"{"a":[],"b":{},"c":[1,{"d":2}]}"#)
    #expect(try parse(nested.indentedText()) == nested)
  }

  @Test(arguments: [
    "", " ", "{", "[", "[1", "[1,", "[1,]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
    "{\"a\":1,}",
    "{a:1}", "'a'", "01", "-", "1.", ".5", "1e", "+1", "NaN", "Infinity", "tru", "nul", "1 2",
    "[1]]",
    "\"", "\"\\", "\"\\u12", "\"\\u12G4\"", "\"\\ud83d\"", "\"\\ud83d\\u0041\"", "\"\\udc00\"",
    "\"\\x\"", "\"\n\"", "//", "\u{FEFF}{}", "{\"a\":1,\"a\":1}",
  ])
  func refusesWhatIsNotJSON(text: String) {
    #expect(throws: JSONParsingError.self) { try parse(text) }
  }

  @Test func refusesInvalidUTF8AndDeepNesting() {
    #expect(throws: JSONParsingError.self) { try JSONDocument(parsing: [0x22, 0xC3, 0x28, 0x22]) }
    #expect(throws: JSONParsingError.self) {
      try JSONDocument(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 100_000))
    }
  }

  @Test func namesLineAndColumn() throws {
    let error = #expect(throws: JSONParsingError.self) { try parse("{\n  \"a\": 1,\n  \"a\": 2}") }
    #expect(error?.description == "line 3, column 3: the key \"a\" is repeated")
  }

  @Test func removesAndReplacesMembersInPlace() {
    var object = JSONObject()
    for (index, key) in ["x", "y", "z"].enumerated() { object[key] = .integer(index) }
    object["y"] = nil
    object["x"] = .null
    object["w"] = .real(1e-6)
    #expect(
      JSONDocument.object(object).compactText() == #"{"x":null,"z":2,"w":1e-06}"#)
  }
}
