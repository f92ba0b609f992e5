import Foundation
import Testing
import XTunerTokenizers

/// Ids and texts equal those of Hugging Face tokenizers and tiktoken.
@Suite struct ReferenceEqualityTests {
  static let families = ["qwen3", "o200k_harmony", "deepseek_v3", "kimi_k2"]
  static let features = [
    "gpt2", "digits", "digit", "removed_false", "removed_true", "merged_with_previous_false",
    "merged_with_previous_true", "merged_with_next_false", "merged_with_next_true",
    "contiguous_false", "contiguous_true", "normalizers", "added", "regex", "llama",
    "unknown_false", "unknown_true", "nfc", "nfd", "nfkc", "nfkd",
  ]

  @Test(arguments: families) func familyMatchesReference(_ family: String) throws {
    let tokenizer = try Tokenizer(path: Fixture.path(family))
    try check(tokenizer, Fixture.cases(family))
  }

  struct Feature: Decodable {
    var cases: [Fixture.Case]
  }

  @Test(arguments: features) func featureMatchesReference(_ name: String) throws {
    let data = try Fixture.data("features/\(name).json")
    let whole = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let file = try JSONSerialization.data(withJSONObject: try #require(whole["tokenizer"]))
    let tokenizer = try Tokenizer(tokenizerJSON: Array(file), name: name)
    try check(tokenizer, JSONDecoder().decode(Feature.self, from: data).cases)
  }

  private func check(_ tokenizer: Tokenizer, _ cases: [Fixture.Case]) throws {
    #expect(cases.count > 40)
    for item in cases {
      let ids = try tokenizer.encode(item.text)
      #expect(ids == item.ids, "\(item.text.debugDescription)")
      #expect(
        try tokenizer.encode(item.text) == ids, "the cache changes \(item.text.debugDescription)")
      #expect(try tokenizer.encode(item.text, addSpecialTokens: true) == item.withSpecial)
      #expect(
        try Array(tokenizer.decode(item.ids).utf8) == Array(item.decoded.utf8), "\(item.text)")
      let skipping = try tokenizer.decode(item.ids, skipSpecialTokens: true)
      #expect(Array(skipping.utf8) == Array(item.decodedSkipping.utf8), "\(item.text)")
      for skip in [false, true] {
        var stream = tokenizer.makeStreamDecoder(skipSpecialTokens: skip)
        let streamed = try item.ids.map { try stream.append($0) }.joined() + stream.finish()
        #expect(
          Array(streamed.utf8) == Array((skip ? item.decodedSkipping : item.decoded).utf8),
          "streaming \(item.text.debugDescription)")
      }
    }
  }

  struct IllFormed: Decodable {
    var hex: String
    var text: String
  }

  @Test func illFormedBytesCountAsReplacementCharacters() throws {
    let tokenizer = try Tokenizer(path: Fixture.path("qwen3"))
    let cases = try JSONDecoder().decode([IllFormed].self, from: Fixture.data("ill_formed.json"))
    #expect(cases.count == 200)
    for item in cases {
      let digits = Array(item.hex)
      let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
        UInt8(String(digits[$0..<$0 + 2]), radix: 16)
      }
      #expect(try tokenizer.encode(utf8: bytes) == tokenizer.encode(item.text), "\(item.hex)")
      #expect(try tokenizer.encode(utf8: bytes[...]) == tokenizer.encode(item.text), "\(item.hex)")
    }
  }

  @Test func composingAPartEqualsComposingTheWhole() throws {
    var text = ""
    var state: UInt64 = 7
    let scalars: [ClosedRange<UInt32>] = [
      0x41...0x5A, 0xC0...0x250, 0x300...0x36F, 0x370...0x3FF, 0x900...0x97F, 0xAC00...0xAC20,
      0x3041...0x309A, 0x1E00...0x1FFF, 0x2100...0x2130, 0xF900...0xFA10,
    ]
    for _ in 0..<4001 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let range = scalars[Int(state >> 33) % scalars.count]
      let offset = UInt32(state >> 40) % UInt32(range.count)
      if let scalar = Unicode.Scalar(range.lowerBound + offset) {
        text.unicodeScalars.append(scalar)
      }
    }
    let tokenizer = try Tokenizer(path: Fixture.path("qwen3"))
    let whole = text.precomposedStringWithCanonicalMapping
    #expect(try Array(tokenizer.decode(tokenizer.encode(text)).utf8) == Array(whole.utf8))
  }
}
