import Foundation
import Testing

@testable import XTunerTokenizers

/// Files that ask for too much: each ends with an error soon, and nothing traps.
@Suite struct UntrustedTokenizerTests {
  /// A byte-level `tokenizer.json` with other parts.
  private func file(
    split: String? = nil, normalizer: String = "null", decoder: String = #"{"type":"ByteLevel"}"#,
    added: String = "[]"
  ) throws -> [UInt8] {
    let vocabulary = (0..<256).map { byte in
      TokenizerJSON.quote(ByteAlphabet.encode([UInt8(byte)])) + ":\(byte)"
    }
    let stage =
      split.map {
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\(TokenizerJSON.quote($0))},"
          + "\"behavior\":\"Isolated\"},"
      } ?? ""
    let text = """
      {"added_tokens":\(added),"normalizer":\(normalizer),"pre_tokenizer":{"type":"Sequence",
      "pretokenizers":[\(stage){"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
      "decoder":\(decoder),
      "model":{"type":"BPE","vocab":{\(vocabulary.joined(separator: ","))},"merges":[]}}
      """
    return Array(text.utf8)
  }

  private func loadingError(_ bytes: [UInt8]) -> TokenizerError? {
    #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: bytes, name: "some.json") }
  }

  @Test(arguments: [
    ("(", "a", ")"), ("(?:", "", ")"), ("[", "a", "]"), ("[a&&", "b", "]"), ("(?=", "a", ")"),
  ])
  func deepNestingIsRefused(_ open: String, _ middle: String, _ close: String) throws {
    func pattern(_ depth: Int) -> String {
      String(repeating: open, count: depth) + middle + String(repeating: close, count: depth)
    }
    #expect(throws: Never.self) {
      try Tokenizer(tokenizerJSON: try file(split: pattern(19)), name: "some.json")
    }
    for depth in [201, 5_003] {
      let error = loadingError(try file(split: pattern(depth)))
      #expect(error?.message.contains("nested more than 200 deep") == true)
      #expect(error?.message.utf8.count ?? 0 < 400, "the pattern is shortened")
      #expect(error?.key == "pre_tokenizer.pretokenizers[0].pattern.Regex")
    }
    // A chain of intersections is as deep as it is long.
    #expect(loadingError(try file(split: "[a" + String(repeating: "&&a", count: 997) + "]")) != nil)
  }

  @Test func sizeOfPatternsIsBounded() throws {
    let many = String(repeating: "a", count: 1 << 16)
    #expect(loadingError(try file(split: many + "a"))?.message.contains("65537 characters") == true)
    let sets = String(repeating: "\\w", count: 10_007)
    #expect(loadingError(try file(split: sets))?.message.contains("character sets") == true)
  }

  @Test func bracesThatAreNoIntervalsAreRead() throws {
    // Each brace looked for its end over the whole rest before.
    let braces = String(repeating: "{", count: 20_011)
    let tokenizer = try Tokenizer(
      tokenizerJSON: try file(split: "a{1,|b{,}|c{2}|\(braces)"), name: "some.json")
    #expect(try tokenizer.encode("xa{1,b{,}ccc").count == 12)
  }

  @Test(arguments: ["(a+)+$", "(a|aa)+$", "(?:a*)*b", "([a-c]+)*d"])
  func catastrophicPatternsEndWithAnError(_ pattern: String) throws {
    let tokenizer = try Tokenizer(tokenizerJSON: try file(split: pattern), name: "some.json")
    #expect(try tokenizer.encode("xyz") == [120, 121, 122].map { Int32($0) })
    let text = String(repeating: "a", count: 61) + "xbd"
    let error = #expect(throws: TokenizerError.self) { try tokenizer.encode(text) }
    #expect(error?.file == "some.json")
    #expect(error?.key == "pre_tokenizer.pretokenizers[0].pattern.Regex")
    #expect(error?.message.contains(pattern) == true)
    #expect(throws: TokenizerError.self) { try tokenizer.encodeBatch(["x", text], threads: 2) }
    // The tokenizer is as before.
    #expect(try tokenizer.encode("xyz") == [120, 121, 122].map { Int32($0) })
  }

  @Test func patternsThatRepeatAGroupTakeLongTexts() throws {
    let tokenizer = try Tokenizer(
      tokenizerJSON: try file(split: "(?:[a-f]|[0-5]){1,}"), name: "some.json")
    let text = String(repeating: "a0", count: 300_007)
    #expect(try tokenizer.encode(text).count == 600_014)
  }

  @Test func replacementsThatMultiplyATextAreStopped() throws {
    let twice = #"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#
    let normalizer =
      #"{"type":"Sequence","normalizers":["#
      + Array(repeating: twice, count: 27).joined(separator: ",") + "]}"
    let tokenizer = try Tokenizer(
      tokenizerJSON: try file(normalizer: normalizer), name: "some.json")
    #expect(try tokenizer.encode("xyz").count == 3)
    let error = #expect(throws: TokenizerError.self) { try tokenizer.encode("abc") }
    #expect(error?.file == "some.json" && error?.key == "normalizer")
    // Also where an added token is looked for in normalised text.
    let added = #"[{"id":256,"content":"aaa","normalized":true}]"#
    #expect(loadingError(try file(normalizer: normalizer, added: added))?.key == "normalizer")
    let long =
      #"{"type":"Replace","pattern":{"String":"a"},"content":""#
      + String(repeating: "b", count: 9_001) + #""}"#
    let other = try Tokenizer(tokenizerJSON: try file(normalizer: long), name: "some.json")
    #expect(throws: TokenizerError.self) {
      try other.encode(String(repeating: "a", count: 1_000_003))
    }
  }

  @Test func decodersThatMultiplyATextAreStopped() throws {
    let twice = #"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#
    let decoder =
      #"{"type":"Sequence","decoders":[{"type":"Fuse"},"#
      + Array(repeating: twice, count: 27).joined(separator: ",") + "]}"
    let tokenizer = try Tokenizer(tokenizerJSON: try file(decoder: decoder), name: "some.json")
    #expect(try tokenizer.decode([120]) == "x")
    let error = #expect(throws: TokenizerError.self) { try tokenizer.decode([97]) }
    #expect(error?.file == "some.json" && error?.key == "decoder")
    var stream = tokenizer.makeStreamDecoder(skipSpecialTokens: false)
    #expect(throws: TokenizerError.self) { try stream.append(97) }
    let strip = #"{"type":"Strip","content":"a","start":2147483647,"stop":2147483647}"#
    let stripped = try Tokenizer(tokenizerJSON: try file(decoder: strip), name: "some.json")
    #expect(try stripped.decode([97, 120, 97]) == "x")
  }

  @Test(arguments: [2_147_483_647, 2_147_483_646, 500_000_000, 1_000_303])
  func addedTokensFarAboveTheVocabularyAreRefused(_ id: Int) throws {
    let error = loadingError(try file(added: #"[{"id":\#(id),"content":"<x>","special":true}]"#))
    #expect(error?.code == .inconsistent)
    #expect(error?.message.contains("\(id)") == true)
  }

  @Test func oneHugeTokenOfARankFileCostsLittle() throws {
    let folder = try Fixture.temporaryFolder()
    var lines = (0..<256).map { "\(Data([UInt8($0)]).base64EncodedString()) \($0)" }
    lines.append("\(Data("ab".utf8).base64EncodedString()) 256")
    lines.append("\(Data(repeating: 97, count: 1_000_003).base64EncodedString()) 257")
    lines.append("\(Data(repeating: 97, count: 1_000_004).base64EncodedString()) 258")
    let path = "\(folder)/qwen.tiktoken"
    try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
    let tokenizer = try Tokenizer(path: path)
    #expect(try tokenizer.encode("cab") == [99, 256])
    #expect(try tokenizer.encode(String(repeating: "a", count: 1_000_004)) == [258])
    let merges = TiktokenFile.merges(of: tokenizer.parts.model.vocabulary)
    #expect(merges.count == 3)
    #expect(merges.merge(257, 97).id == 258)
    #expect(merges.merge(97, 98).id == 256)
  }
}
