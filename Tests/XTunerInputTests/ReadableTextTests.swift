import Testing

@testable import XTunerInput

@Suite struct ReadableTextTests {
  @Test func controlCharactersAreWrittenOut() {
    #expect(
      ReadableText.message("a\u{1B}[31m\tb\u{7}\nc\u{202E}d\r\u{9B}")
        == "a\\u{1B}[31m\tb\\u{7}\nc\\u{202E}d\\u{D}\\u{9B}")
  }

  @Test func ordinaryTextsStayAsTheyAre() {
    for text in ["", "a: b", "\u{E9}\u{4E2D}\u{1F600}\n\nx\n"] {
      #expect(ReadableText.message(text) == text)
    }
  }

  @Test func longLinesLoseTheirMiddle() {
    let text = "first" + String(repeating: "x", count: 1_000_003) + "last"
    let shown = ReadableText.message(text)
    #expect(shown.count < ReadableText.lineLimit + 50)
    #expect(shown.hasPrefix("firstxxx"))
    #expect(shown.contains(" ...(998179 characters)... "))
    #expect(shown.hasSuffix("xxxlast"))
  }

  @Test func longMessagesLoseTheirEnd() {
    let shown = ReadableText.message((0..<70_001).map(String.init).joined(separator: "\n"))
    let lines = shown.split(separator: "\n")
    #expect(lines.count == ReadableText.lineCountLimit + 1)
    #expect(lines[199] == "199")
    #expect(lines[200] == "... and 69801 more lines")
  }
}
