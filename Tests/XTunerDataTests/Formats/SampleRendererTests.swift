import Testing
import XTunerData
import XTunerTokenizers

struct SampleRendererTests {
  @Test func plainStyleBracketsLearnedText() throws {
    let segments = try ChatTemplate.named("chatml").segments([
      ChatMessage(role: "user", content: "Hi"), ChatMessage(role: "assistant", content: "Yo"),
    ])
    #expect(
      SampleRenderer(style: .plain).render(segments)
        == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Yo<|im_end|>⟧\n")
  }

  @Test func colorsDoNotCrossLines() {
    let segments = [
      ChatSegment(text: "a\n", carriesLoss: false), ChatSegment(text: "b\n\nc", carriesLoss: true),
    ]
    #expect(
      SampleRenderer(style: .color).render(segments)
        == "\u{1B}[2ma\u{1B}[0m\n\u{1B}[32mb\u{1B}[0m\n\n\u{1B}[32mc\u{1B}[0m")
  }

  @Test func decodesRunsOfTokensTogether() {
    let text = SampleRenderer(style: .plain).render(
      tokens: [2, 3, 5, 7, 11], lossMask: [false, true, true, false, true]
    ) { "\($0.map(String.init).joined(separator: "+")) " }
    #expect(text == "2 ⟦3+5 ⟧7 ⟦11 ⟧")
    #expect(SampleRenderer(style: .plain).render(tokens: [], lossMask: []) { _ in "x" } == "")
  }

  @Test func controlCharactersCannotSteerTheTerminal() {
    let segments = [ChatSegment(text: "a\u{1B}[31m\r\u{7F}\u{9B}é", carriesLoss: false)]
    #expect(SampleRenderer(style: .plain).render(segments) == "a␛[31m␍␡\u{FFFD}é")
  }
}
