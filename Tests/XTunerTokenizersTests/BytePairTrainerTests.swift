import Foundation
import Testing
import XTunerTokenizers

@Suite struct BytePairTrainerTests {
  struct Expected: Decodable {
    var texts: [String]
    var vocab: [String: Int32]
    var merges: [[String]]
  }

  private func trained(
    _ texts: [String], size: Int = 380, special: [String] = []
  ) throws -> TrainedTokenizer {
    var trainer = try BytePairTrainer(
      vocabularySize: size, specialTokens: special, endToken: special.first)
    for text in texts { trainer.add(text) }
    return try trainer.train()
  }

  @Test func learnsTheMergesOfTheReferenceTrainer() throws {
    let expected = try JSONDecoder().decode(
      Expected.self, from: Fixture.data("trained/expected.json"))
    let result = try trained(expected.texts)
    let tokenizer = try result.makeTokenizer()
    let merges = result.merges.map { merge in
      [tokenizer.token(of: merge.left)!, tokenizer.token(of: merge.right)!]
    }
    #expect(merges == expected.merges)
    #expect(tokenizer.vocabularySize == expected.vocab.count)
    for (token, id) in expected.vocab { #expect(tokenizer.id(of: token) == id) }
  }

  @Test func specialTokensComeLastAndAreNotLearntFrom() throws {
    let special = ["<|end|>", "<|pad|>"]
    let plain = try trained(["ab ab ab"], size: 260)
    let result = try trained(
      ["ab<|end|> ab<|end|><|end|> ab<|pad|>"], size: 262, special: special)
    #expect(result.merges.map(\.left) == plain.merges.map(\.left))
    let tokenizer = try result.makeTokenizer()
    #expect(tokenizer.id(of: "<|end|>") == Int32(result.tokens.count))
    #expect(tokenizer.id(of: "<|pad|>") == Int32(result.tokens.count + 1))
    #expect(try tokenizer.encode("<|pad|>") == [Int32(result.tokens.count + 1)])
    #expect(result.vocabularySize == result.tokens.count + 2)
  }

  @Test func savedFolderEncodesAlikeAndDigitsStayApart() throws {
    let result = try trained(["year 2024 2024 2024 and caf\u{E9} caf\u{E9}"], special: ["<|end|>"])
    let folder = try Fixture.temporaryFolder()
    try result.save(to: folder)
    let tokenizer = try Tokenizer(path: folder)
    let text = "2024 caf\u{E9}\n<|end|>\"\\\u{1}"
    #expect(try tokenizer.encode(text) == result.makeTokenizer().encode(text))
    #expect(try tokenizer.encode("2024").count == 4)
    #expect(try tokenizer.decode(tokenizer.encode(text)) == text)
  }

  @Test func orderOfTextsDoesNotMatter() throws {
    let texts = ["the cat", "the dog sat", "a dog and a cat", "aaaa aaa aa"]
    let forward = try trained(texts, size: 300)
    let backward = try trained(texts.reversed(), size: 300)
    #expect(forward.tokens == backward.tokens)
  }

  @Test func impossibleRequestsAreRefused() throws {
    #expect(throws: TokenizerError.self) { try BytePairTrainer(vocabularySize: 255) }
    #expect(throws: TokenizerError.self) {
      try BytePairTrainer(vocabularySize: 300, specialTokens: ["<a>", "<a>"])
    }
    #expect(throws: TokenizerError.self) {
      try BytePairTrainer(vocabularySize: 300, endToken: "<|end|>")
    }
    let trainer = try BytePairTrainer(vocabularySize: 300)
    #expect(throws: TokenizerError.self) { try trainer.train() }
  }
}
