import Testing
import XTunerTokenizers

@testable import XTunerGeneration

@Suite struct StopTextTests {
  /// The pieces handed out for the pieces given, and the stop string found.
  private func scan(
    _ stops: [String], _ pieces: [String]
  ) -> (pieces: [String], stop: String?) {
    var scanner = StopTextScanner(stops)
    var output: [String] = []
    for piece in pieces {
      let found = scanner.append(piece)
      output.append(found.text)
      if let stop = found.stop { return (output, stop) }
    }
    output.append(scanner.finish())
    return (output, nil)
  }

  @Test func aStopStringMaySpanPieces() {
    let found = scan(["\nUser:"], ["one\n", "Us", "er", ": two"])
    #expect(found.pieces == ["one", "", "", ""])
    #expect(found.stop == "\nUser:")
  }

  @Test func textThatOnlyBeginsLikeAStopStringIsHandedOutLater() {
    let found = scan(["aab"], ["xaa", "a", "c", "a"])
    #expect(found.pieces == ["x", "a", "aac", "", "a"])
    #expect(found.stop == nil)
  }

  @Test func theStopStringThatBeginsFirstCounts() {
    #expect(scan(["cd", "bcx", "b"], ["abcd"]).stop == "b")
    #expect(scan(["cd", "abcx"], ["abcd"]).pieces == ["ab"])
  }

  @Test func charactersOfSeveralBytesStayWhole() {
    let found = scan(["é!"], ["caf", "é", "?é", "!"])
    #expect(found.pieces == ["caf", "", "é?", ""])
    #expect(found.stop == "é!")
  }

  @Test func withoutStopStringsTextPassesThrough() {
    #expect(scan([], ["a", "b"]).pieces == ["a", "b", ""])
  }

  private func state(_ stops: [String], maximum: Int = 99) throws -> SequenceState {
    SequenceState(
      prompt: [1], occurrence: 0,
      options: SamplingOptions(
        maximumTokenCount: maximum, stopStrings: stops, stopTokens: [256]),
      tokenizer: try byteTokenizer(), contextLimit: 1000)
  }

  @Test func aSequenceEndsBeforeItsStopString() throws {
    var state = try state(["END"])
    var streamed = ""
    for byte in "ok ENEND".utf8 {
      #expect(!state.isFinished)
      streamed += try state.append(Int32(byte))
    }
    #expect(state.result.text == "ok EN")
    #expect(streamed == "ok EN")
    #expect(state.result.finishReason == .stopString("END"))
    #expect(state.result.ids.count == 8)
  }

  @Test func heldTextIsHandedOutAtTheEnd() throws {
    var state = try state(["END"], maximum: 4)
    let streamed = try "a EN".utf8.map { try state.append(Int32($0)) }
    #expect(streamed == ["a", " ", "", "EN"])
    #expect(state.result.finishReason == .maximumTokenCount)
  }

  @Test func aStopTokenIsNotTextAndEndsAnIncompleteCharacter() throws {
    var state = try state([])
    let streamed = try [0x61, 0xC3, 256].map { try state.append($0) }
    #expect(streamed == ["a", "", "\u{FFFD}"])
    #expect(state.result.text == "a\u{FFFD}")
    #expect(state.result.ids == [0x61, 0xC3, 256])
    #expect(state.result.finishReason == .stopToken(256))
  }
}
