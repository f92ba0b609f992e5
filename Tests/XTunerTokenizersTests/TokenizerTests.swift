import Foundation
import Testing
import XTunerTokenizers

@Suite struct TokenizerTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try Tokenizer(path: Fixture.path("qwen3")) }

  @Test func batchIsEqualToSingleCallsOnAnyNumberOfThreads() throws {
    let texts = try (0..<97).map { index in
      try Fixture.cases("qwen3")[index % 41].text + " \(index)"
    }
    let expected = try texts.map { try tokenizer.encode($0) }
    for threads in [1, 2, 7] {
      #expect(try tokenizer.encodeBatch(texts, threads: threads) == expected)
    }
    #expect(try tokenizer.encodeBatch([], threads: 3) == [])
  }

  @Test func namesAndIDsAreInverse() throws {
    for id in 0..<Int32(tokenizer.vocabularySize) {
      let token = try #require(tokenizer.token(of: id))
      #expect(tokenizer.id(of: token) == id)
    }
    #expect(tokenizer.token(of: Int32(tokenizer.vocabularySize)) == nil)
    #expect(tokenizer.token(of: -1) == nil)
    #expect(tokenizer.id(of: "no such token") == nil)
    let special = try #require(tokenizer.id(of: "<|im_end|>"))
    #expect(tokenizer.isSpecial(special))
    #expect(try !tokenizer.isSpecial(#require(tokenizer.id(of: "<think>"))))
  }

  @Test func longPieceTakesTheSameIDsAsItsParts() throws {
    // Far above the length where the merger changes from a line search to a heap.
    let ids = try tokenizer.encode(String(repeating: "ab", count: 20_011))
    #expect(try tokenizer.decode(ids) == String(repeating: "ab", count: 20_011))
    #expect(ids.count < 20_011)
  }

  @Test func idsWithoutATokenAreLeftOut() throws {
    let ids = try tokenizer.encode("Hello")
    #expect(try tokenizer.decode([-1] + ids + [1_000_003]) == "Hello")
  }

  @Test func streamNeverSplitsACharacter() throws {
    let text = "👍🏽 日本\u{301} é"
    var decoder = tokenizer.makeStreamDecoder(skipSpecialTokens: false)
    var parts: [String] = []
    for id in try tokenizer.encode(text) { parts.append(try decoder.append(id)) }
    #expect(!parts.joined().contains("\u{FFFD}"))
    #expect(parts.joined() == text)
    #expect(try decoder.finish() == "")
    #expect(parts.contains(""))
  }

  @Test func streamReplacesWhatNeverBecomesACharacter() throws {
    let ids = try tokenizer.encode("👍")
    #expect(ids.count == 4)
    var decoder = tokenizer.makeStreamDecoder(skipSpecialTokens: false)
    #expect(try decoder.append(ids[0]) == "")
    #expect(try decoder.append(ids[1]) == "")
    let letter = try tokenizer.encode("x")[0]
    #expect(try decoder.append(letter) == "\u{FFFD}x")
    #expect(try decoder.append(ids[0]) == "")
    #expect(try decoder.finish() == "\u{FFFD}")
    #expect(try decoder.finish() == "")
  }

  @Test func savedFolderReadsBackAndKeepsTheHash() throws {
    for family in ["qwen3", "kimi_k2"] {
      let original = try Tokenizer(path: Fixture.path(family))
      let folder = try Fixture.temporaryFolder()
      try original.save(to: folder + "/deep/er")
      let copy = try Tokenizer(path: folder + "/deep/er")
      #expect(copy.contentHash == original.contentHash)
      #expect(copy.contentHash.count == 64)
      #expect(try copy.encode("Hello <|im_end|>") == original.encode("Hello <|im_end|>"))
      #expect(copy.folder == folder + "/deep/er")
    }
  }

  @Test func familyCanBeNamed() throws {
    let folder = try Fixture.temporaryFolder()
    let ranks = try Fixture.data("kimi_k2/tiktoken.model")
    let file = folder + "/words.tiktoken"
    try ranks.write(to: URL(fileURLWithPath: file))
    #expect(throws: TokenizerError.self) { try Tokenizer(path: file) }
    let qwen = try Tokenizer(path: file, family: .qwen)
    #expect(try qwen.encode("<|im_start|>") == [Int32(qwen.vocabularySize) - 207])
    #expect(try qwen.decode(qwen.encode("e\u{301} 12")) == "\u{E9} 12")
  }

  @Test func classThatAddsBosDoesSo() throws {
    let folder = try Fixture.temporaryFolder()
    try Tokenizer(path: Fixture.path("qwen3")).save(to: folder)
    let configuration = """
      {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": true, "add_eos_token": true,
      "bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"}
      """
    try configuration.write(
      toFile: folder + "/tokenizer_config.json", atomically: true, encoding: .utf8)
    let changed = try Tokenizer(path: folder)
    let start = try #require(changed.id(of: "<|im_start|>"))
    let end = try #require(changed.id(of: "<|im_end|>"))
    #expect(
      try changed.encode("a", addSpecialTokens: true) == [start] + tokenizer.encode("a") + [end])
    #expect(try changed.encode("a") == tokenizer.encode("a"))
    #expect(changed.contentHash != tokenizer.contentHash)
  }

  @Test func manyThreadsMayEncodeAtOnce() async throws {
    let cases = try Fixture.cases("qwen3")
    await withTaskGroup(of: Bool.self) { group in
      for shift in 0..<13 {
        group.addTask {
          (0..<cases.count).allSatisfy { index in
            let item = cases[(index * 7 + shift) % cases.count]
            return (try? tokenizer.encode(item.text)) == item.ids
          }
        }
      }
      for await isEqual in group { #expect(isEqual) }
    }
  }

  @Test func linesOfAFileBecomeLinesOfIDs() throws {
    let folder = try Fixture.temporaryFolder()
    let bytes = Array("Hello\n\ncaf\u{E9}\r\n".utf8) + [0xFF, 0x0A] + Array("last".utf8)
    try Data(bytes).write(to: URL(fileURLWithPath: folder + "/in"))
    let (text, summary) = try TokenizerCommands.encodedLines(
      tokenizer: tokenizer, input: folder + "/in", threads: 2)
    #expect(summary.lineCount == 5)
    #expect(summary.byteCount == bytes.count - 4)
    let rows = try String(decoding: text, as: UTF8.self).split(separator: "\n").map {
      try JSONDecoder().decode([Int32].self, from: Data($0.utf8))
    }
    let expected = try ["Hello", "", "caf\u{E9}\r", "\u{FFFD}", "last"].map {
      try tokenizer.encode($0)
    }
    #expect(rows == expected)
  }

  @Test func hugeTextIsCutAsThePublishedKimiTokenizerCutsIt() throws {
    let kimi = try Tokenizer(path: Fixture.path("kimi_k2"))
    let run = String(repeating: "x", count: 25_000)
    #expect(
      try kimi.encode(run + run + "xx") == kimi.encode(run) + kimi.encode(run) + kimi.encode("xx"))
    let mixed = String(repeating: "x y ", count: 100_000)
    #expect(try kimi.encode(mixed + "x") == kimi.encode(mixed) + kimi.encode("x"))
  }
}
