import Foundation
import Testing
import XTunerTokenizers

/// Tokens that only files beside `tokenizer.json` name.
@Suite struct NamedTokenTests {
  struct Reference: Decodable {
    struct Variant: Decodable, CustomTestStringConvertible {
      struct Case: Decodable {
        var text: String
        var ids: [Int32]
        var decoded: String
      }
      var name: String
      var files: [String: String]
      var cases: [Case]
      var testDescription: String { name }
    }
    var tokenizer: String
    var variants: [Variant]

    static func read() throws -> Reference {
      try JSONDecoder().decode(Reference.self, from: Fixture.data("named.json"))
    }
  }

  private func folder(_ tokenizer: String, _ files: [String: String]) throws -> String {
    let folder = try Fixture.temporaryFolder()
    try tokenizer.write(toFile: "\(folder)/tokenizer.json", atomically: true, encoding: .utf8)
    for (name, text) in files {
      try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
    }
    return folder
  }

  @Test func everyVariantIsEncodedAsTransformersDoes() throws {
    let reference = try Reference.read()
    #expect(reference.variants.count == 20)
    for variant in reference.variants {
      let tokenizer = try Tokenizer(path: folder(reference.tokenizer, variant.files))
      // The same holds for what is saved.
      let copy = try Fixture.temporaryFolder()
      try tokenizer.save(to: copy)
      for read in [tokenizer, try Tokenizer(path: copy)] {
        for item in variant.cases {
          let ids = try read.encode(item.text)
          #expect(ids == item.ids, "\(variant.name): \(item.text)")
          #expect(try read.decode(ids, skipSpecialTokens: true) == item.decoded, "\(variant.name)")
        }
      }
    }
  }

  @Test func onlyTokensThatChangeSomethingChangeTheHash() throws {
    let reference = try Reference.read()
    let plain = try Tokenizer(path: folder(reference.tokenizer, [:]))
    func hash(_ files: [String: String]) throws -> String {
      try Tokenizer(path: folder(reference.tokenizer, files)).contentHash
    }
    let same = try hash(["special_tokens_map.json": #"{"eos_token":"<|end|>"}"#])
    #expect(same == plain.contentHash)
    let other = try hash(["special_tokens_map.json": #"{"eos_token":"<|new|>"}"#])
    #expect(other != plain.contentHash)
  }

  @Test(arguments: [
    ("tokenizer_config.json", #"{"added_tokens_decoder":{"300":{"content":"<|new|>"}}}"#, "300"),
    ("added_tokens.json", #"{"<|new|>":300}"#, "<|new|>"),
    ("added_tokens.json", #"{"<|end|>":259}"#, "<|end|>"),
    ("added_tokens.json", #"{"ab":260}"#, "ab"),
  ])
  func anIDThatTransformersWouldNotGiveIsRefused(
    _ name: String, _ text: String, _ key: String
  ) throws {
    let path = try folder(Reference.read().tokenizer, [name: text])
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(path: path) }
    #expect(error?.code == .inconsistent)
    #expect(error?.file.hasSuffix(name) == true)
    #expect(error?.key.contains(key) == true)
  }

  @Test(arguments: [
    ("tokenizer_config.json", #"{"pad_token":5}"#, "pad_token"),
    ("tokenizer_config.json", #"{"image_token":[]}"#, "image_token"),
    ("tokenizer_config.json", #"{"extra_special_tokens":[5]}"#, "extra_special_tokens[0]"),
    ("tokenizer_config.json", #"{"additional_special_tokens":"<x>"}"#, "additional_special_tokens"),
    ("tokenizer_config.json", #"{"split_special_tokens":true}"#, "split_special_tokens"),
    ("special_tokens_map.json", #"{"eos_token":{}}"#, "eos_token.content"),
    ("special_tokens_map.json", "[]", ""), ("added_tokens.json", #"{"<x>":"1"}"#, "<x>"),
  ])
  func whatIsNoTokenIsRefused(_ name: String, _ text: String, _ key: String) throws {
    let path = try folder(Reference.read().tokenizer, [name: text])
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(path: path) }
    #expect(error?.file.hasSuffix(name) == true)
    #expect(error?.key == key)
  }

  @Test func aRankFileMustHaveTheTokensThatItsConfigurationNames() throws {
    let folder = try Fixture.temporaryFolder()
    try Tokenizer(path: Fixture.path("kimi_k2")).save(to: folder)
    let path = "\(folder)/tokenizer_config.json"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    for (token, isKnown) in [("<|im_end|>", true), ("<|missing|>", false)] {
      try text.replacing("{\n", with: "{\n \"pad_token\": \"\(token)\",\n", maxReplacements: 1)
        .write(toFile: path, atomically: true, encoding: .utf8)
      if isKnown {
        #expect(throws: Never.self) { try Tokenizer(path: folder) }
      } else {
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(path: folder) }
        #expect(error?.key == "pad_token")
      }
    }
  }
}
