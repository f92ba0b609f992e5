import Testing
import XTunerText

@Suite struct ExactTextTests {
  /// Texts that `String` takes for the same, of the same bytes as no other.
  static let pairs = [
    ("\u{E9}", "e\u{301}"), ("\u{F914}", "\u{6A02}"), ("\u{212A}", "K"), ("\u{37E}", ";"),
    ("q\u{323}\u{307}", "q\u{307}\u{323}"),
  ]

  @Test(arguments: pairs)
  func canonicallyEquivalentTextsAreDifferentKeys(_ left: String, _ right: String) {
    #expect(left == right, "the standard library's own comparison")
    #expect(ExactText(left) != ExactText(right))
    #expect(Set<ExactText>([left, right, left]).count == 2)
    var values: [ExactText: Int] = [:]
    values[left] = 3
    values[right] = 5
    values[left, default: 0] += 8
    #expect(values[left] == 11)
    #expect(values[ExactText(right)] == 5)
    #expect(values.updateValue(7, forKey: right) == 5)
    #expect(!left.isExactly(right))
    #expect(left.isExactly(Substring(left)))
    #expect(![left].containsExactly(right))
    #expect([right].containsExactly(right))
  }

  @Test func orderIsThatOfBytesWhateverTheOrderBefore() {
    let composed = "a\u{E9}"
    let decomposed = "ae\u{301}"
    for texts in [[composed, decomposed, "b"], ["b", decomposed, composed]] {
      #expect(
        texts.sortedByBytes().map { Array($0.utf8) }
          == [decomposed, composed, "b"].map { Array($0.utf8) })
      #expect(texts.map { ExactText($0) }.sorted().map(\.text.utf8.count) == [4, 3, 1])
    }
  }

  @Test func aTextIsNoKeyForWhatBeginsWithIt() {
    let keys = Set<ExactText>(["", "a", "a\u{0}", "ab"])
    #expect(keys.count == 4)
    #expect(!keys.contains("a\u{301}"))
  }
}
