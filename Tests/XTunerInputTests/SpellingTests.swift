import Testing

@testable import XTunerInput

@Suite struct SpellingTests {
  @Test(arguments: [
    ("stpes", "steps"), ("Steps", "steps"), ("packsPerStep", "packs_per_step"),
    ("packs-per-step", "packs_per_step"), ("packs", "packs_per_step"), ("epoch", "epochs"),
    ("microbatch_packs", "micro_batch_packs"), ("gradient_norm", "max_gradient_norm"),
  ])
  func suggestsWhatWasMeant(word: String, meant: String) {
    let keys = [
      "steps", "epochs", "packs_per_step", "micro_batch_packs", "max_gradient_norm", "recompute",
    ]
    #expect(Spelling.suggestion(for: word, among: keys) == meant)
  }

  @Test(arguments: ["x", "", "optimizer", "xy"])
  func suggestsNothingForUnrelatedWords(word: String) {
    #expect(Spelling.suggestion(for: word, among: ["steps", "epochs", "recompute"]) == nil)
  }

  @Test func countsEdits() {
    #expect(Spelling.distance(Array("abcd"), Array("abcd")) == 0)
    #expect(Spelling.distance(Array("abcd"), Array("acbd")) == 1)
    #expect(Spelling.distance(Array(""), Array("abc")) == 3)
    #expect(Spelling.distance(Array("kitten"), Array("sitting")) == 3)
  }

  @Test func aPageOfTextIsNoMisspeltWord() {
    #expect(
      Spelling.suggestion(for: String(repeating: "steps", count: 999), among: ["steps"]) == nil)
  }
}
