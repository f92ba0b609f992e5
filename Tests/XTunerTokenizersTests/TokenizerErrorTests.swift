import Foundation
import Testing
import XTunerTokenizers

/// What is wrong with a file is said with the file, the key and the value.
@Suite struct TokenizerErrorTests {
  private static let bytes = (0..<256).map { "\"\(spelling($0))\":\($0)" }.joined(separator: ",")

  private static func spelling(_ byte: Int) -> String {
    // The alphabet of byte-level vocabularies, written out anew as a check of the module's own.
    let visible = Array(0x21...0x7E) + Array(0xA1...0xAC) + Array(0xAE...0xFF)
    let hidden = (0..<256).filter { !visible.contains($0) }
    let scalar = hidden.firstIndex(of: byte).map { 0x100 + $0 } ?? byte
    let text = String(Unicode.Scalar(UInt32(scalar))!)
    return text == "\"" || text == "\\" ? "\\" + text : text
  }

  private func file(
    model: String = #""ab":256"#, merges: String = #"["a b"]"#, added: String = "[]",
    extra: String = "", split: String = "a"
  ) -> [UInt8] {
    let text = """
      {"added_tokens":\(added),"pre_tokenizer":{"type":"Sequence","pretokenizers":[
      {"type":"Split","pattern":{"Regex":"\(split)"},"behavior":"Isolated"},
      {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
      "decoder":{"type":"ByteLevel"},\(extra)
      "model":{"type":"BPE","vocab":{\(Self.bytes),\(model)},"merges":\(merges)}}
      """
    return Array(text.utf8)
  }

  private func error(_ bytes: [UInt8]) -> TokenizerError? {
    do {
      _ = try Tokenizer(tokenizerJSON: bytes, name: "some.json")
      return nil
    } catch {
      return error
    }
  }

  @Test func soundFileIsRead() throws {
    #expect(error(file()) == nil)
    #expect(error(file(merges: #"[["a","b"]]"#)) == nil)
    let tokenizer = try Tokenizer(tokenizerJSON: file(split: "c"), name: "some.json")
    #expect(try tokenizer.encode("abc") == [256, 99])
  }

  @Test func everyTruncationIsRefused() {
    let whole = file()
    for count in stride(from: 0, to: whole.count, by: 61) {
      let found = error(Array(whole.prefix(count)))
      #expect(found?.code == .malformed, "at \(count)")
      #expect(found?.file == "some.json")
    }
  }

  @Test func mergeWithoutResultIsNamed() {
    let found = error(file(model: #""ba":256"#))
    #expect(found?.code == .inconsistent)
    #expect(found?.key == "model.merges[0]")
    #expect(found?.message.contains("\"ab\"") == true)
  }

  @Test func mergeOfUnknownTokenIsNamed() {
    let found = error(file(merges: #"["a b", "xyz b"]"#))
    #expect(found?.key == "model.merges[1]")
    #expect(found?.message.contains("xyz") == true)
  }

  @Test(arguments: ["[1]", #"["ab"]"#, #"["a b c"]"#, #"[["a"]]"#, #"[" a"]"#])
  func malformedMergeIsNamed(_ merges: String) {
    #expect(error(file(merges: merges))?.key == "model.merges[0]")
  }

  @Test func sharedIDIsRefused() {
    let found = error(file(model: #""ab":256,"cd":256"#))
    #expect(found?.code == .inconsistent)
    #expect(found?.description == "some.json: model.vocab.cd: has id 256, which \"ab\" has too")
  }

  @Test func repeatedTokenIsRefused() {
    #expect(error(file(model: #""ab":256,"ab":257"#))?.code == .inconsistent)
  }

  @Test func absurdIDIsRefused() {
    #expect(error(file(model: #""ab":256,"far":2000000000"#))?.code == .inconsistent)
    #expect(error(file(model: #""ab":256.5"#))?.code == .malformed)
    #expect(error(file(model: #""ab":-1"#))?.code == .malformed)
  }

  @Test func addedTokensMayNotContradict() {
    #expect(error(file(added: #"[{"id":257,"content":"<x>","special":true}]"#)) == nil)
    for added in [
      #"[{"id":3,"content":"<x>","special":true}]"#, #"[{"id":257,"content":"ab"}]"#,
      #"[{"id":257,"content":"<x>"},{"id":257,"content":"<y>"}]"#,
      #"[{"id":257,"content":"<x>"},{"id":258,"content":"<x>"}]"#,
    ] {
      #expect(error(file(added: added))?.code == .inconsistent, "\(added)")
    }
  }

  @Test func canonicallyEquivalentTokensAreDifferentTokens() throws {
    let pairs = [
      ("\u{F914}", "\u{6A02}"), ("\u{1E69}", "s\u{323}\u{307}"), ("\u{212B}", "A\u{30A}"),
    ]
    for (left, right) in pairs {
      let added = #"[{"id":257,"content":"\#(left)"},{"id":258,"content":"\#(right)"}]"#
      let tokenizer = try Tokenizer(tokenizerJSON: file(added: added), name: "some.json")
      #expect(tokenizer.id(of: left) == 257)
      #expect(tokenizer.id(of: right) == 258)
      #expect(try tokenizer.encode(right + left) == [258, 257])
      #expect(Array((tokenizer.token(of: 258) ?? "").utf8) == Array(right.utf8))
    }
  }

  @Test(arguments: [
    #""normalizer":{"type":"BertNormalizer"},"#, #""truncation":{"max_length":5},"#,
    #""post_processor":{"type":"BertProcessing"},"#, #""surprise":1,"#,
  ])
  func whatIsNotImplementedIsRefusedByName(_ extra: String) {
    let found = error(file(extra: extra))
    #expect(found?.code == .unsupported)
    #expect(extra.contains(found!.key))
  }

  @Test(arguments: [
    "(?<name>a)", #"\\h"#, #"\\p{Klingon}"#, "[[:alpha:]]", "a**", "(a", "a)", "[b",
  ])
  func unknownPatternIsRefused(_ split: String) {
    let found = error(file(split: split))
    #expect(found?.code == .unsupported)
    #expect(found?.key == "pre_tokenizer.pretokenizers[0].pattern.Regex")
  }

  @Test func missingByteIsRefused() {
    let text = String(decoding: file(), as: UTF8.self)
      .replacingOccurrences(of: "\"q\":113,", with: "")
    let found = error(Array(text.utf8))
    #expect(found?.key == "model.vocab")
    #expect(found?.message.contains("0x71") == true)
  }

  @Test func missingFilesAreNamed() throws {
    let folder = try Fixture.temporaryFolder()
    for path in [folder, folder + "/no/such"] {
      #expect {
        try Tokenizer(path: path)
      } throws: { error in
        (error as? TokenizerError)?.code == .unreadable && "\(error)".contains(path)
      }
    }
  }

  @Test(arguments: ["YQ== 0\nYg== x\n", "YQ== 0\nYg== 0\n", "YQ== 0\nYQ== 1\n", "", "YQ== 0\n"])
  func brokenRankFileIsRefused(_ text: String) throws {
    let file = try Fixture.temporaryFolder() + "/qwen.tiktoken"
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    #expect {
      try Tokenizer(path: file)
    } throws: { error in
      "\(error)".contains(file)
    }
  }
}
