import Foundation
import Testing
import XTunerTokenizers

@testable import XTunerData

@Suite struct SampleTokenizerTests {
  private func marked(_ sample: TokenizedSample) -> String {
    String(
      decoding: zip(sample.tokens, sample.lossMask).map { $1 ? UInt8($0) : UInt8(ascii: ".") },
      as: UTF8.self)
  }

  @Test func lossIsOnAssistantContentAndItsStopOnly() throws {
    let record = chatRecord([
      ("user", "hi"), ("assistant", "yes"), ("user", "a"), ("assistant", "b"),
    ])
    let result = try byteTokenizer(TokenizingOptions()).tokenize(record)
    #expect(result.samples.count == 1)
    #expect(marked(result.samples[0]) == ".........yes;........b;")
    #expect(result.counts.records == 1 && result.counts.samples == 1)
  }

  @Test func neighbouringSegmentsOfOneKindAreEncodedTogether() throws {
    // An id for each text: two ids mean two calls.
    let tokenizer = SampleTokenizer(
      options: TokenizingOptions(), encode: { [Int32($0.utf8.count)] },
      segments: { _ in
        [
          ChatSegment(text: "ab", carriesLoss: false), ChatSegment(text: "c", carriesLoss: false),
          ChatSegment(text: "defg", carriesLoss: true),
        ]
      })
    let result = try tokenizer.tokenize(chatRecord([]))
    #expect(result.samples[0].tokens == [3, 4])
    #expect(result.samples[0].lossMask == [false, true])
  }

  @Test func textEndsWithTheEndOfDocumentTokenAndCarriesLossEverywhere() throws {
    let result = try byteTokenizer(TokenizingOptions(endOfDocumentToken: 7))
      .tokenize(textRecord("abc"))
    #expect(result.samples[0].tokens == [97, 98, 99, 7])
    #expect(result.samples[0].lossMask == [true, true, true, true])
    #expect(result.samples[0].lossTokenCount == 3)
  }

  @Test func emptyTextIsCountedAndNotASample() throws {
    let result = try byteTokenizer(TokenizingOptions(endOfDocumentToken: 7))
      .tokenize(textRecord(""))
    #expect(result.samples.isEmpty)
    #expect(result.counts.empty == 1)
  }

  @Test func overlongSamplesAreTruncatedDroppedSplitOrKept() throws {
    func run(_ policy: OverlongPolicy) throws -> TokenizedRecord {
      try byteTokenizer(TokenizingOptions(sequenceLength: 3, overlong: policy))
        .tokenize(textRecord("abcdefgh"))
    }
    #expect(try run(.truncate).samples.map(marked) == ["abc"])
    #expect(try run(.truncate).counts.truncated == 1)
    #expect(try run(.drop).samples.isEmpty)
    #expect(try run(.drop).counts.droppedOverlong == 1)
    #expect(try run(.split).samples.map(marked) == ["abc", "def", "gh"])
    #expect(try run(.split).counts.splitTexts == 1)
    #expect(try run(.keep).samples.map(marked) == ["abcdefgh"])
  }

  @Test func aSampleOfExactlyTheLengthIsNotOverlong() throws {
    let result = try byteTokenizer(TokenizingOptions(sequenceLength: 3, overlong: .error))
      .tokenize(textRecord("abc"))
    #expect(result.samples.count == 1)
  }

  @Test func overlongErrorsNameFileLineAndLengths() {
    let error = #expect(throws: TokenizingError.self) {
      try byteTokenizer(TokenizingOptions(sequenceLength: 3, overlong: .error))
        .tokenize(textRecord("abcdefgh", file: "part.jsonl", line: 13))
    }
    #expect(error?.code == .overlongSample)
    #expect(
      error?.message.hasPrefix(
        "part.jsonl:13: the sample has 8 tokens, more than the sequence length 3") == true)
    let chat = #expect(throws: TokenizingError.self) {
      try byteTokenizer(TokenizingOptions(sequenceLength: 3, overlong: .split))
        .tokenize(chatRecord([("assistant", "abcdef")]))
    }
    #expect(chat?.message.contains("cannot be split") == true)
  }

  @Test func samplesWithoutALabelAreCountedAndDroppedOrKept() throws {
    let record = chatRecord([("user", "hi")])
    let dropped = try byteTokenizer(TokenizingOptions()).tokenize(record)
    #expect(dropped.samples.isEmpty && dropped.counts.fullyMasked == 1)
    let kept = try byteTokenizer(TokenizingOptions(fullyMasked: .keep)).tokenize(record)
    #expect(kept.samples.count == 1 && kept.counts.fullyMasked == 1)
    // The only label is the first token, before which there is nothing to predict it from.
    #expect(try byteTokenizer(TokenizingOptions()).tokenize(textRecord("a")).samples.isEmpty)
  }

  /// Counted among the samples that were cut it made "4 of 1 samples".
  @Test func aSampleThatTheCutLeavesWithoutALabelIsNotOneThatWasCut() throws {
    let result = try byteTokenizer(TokenizingOptions(sequenceLength: 5))
      .tokenize(chatRecord([("user", "long question"), ("assistant", "b")]))
    #expect(result.counts.truncated == 0)
    #expect(result.counts.fullyMasked == 1)
    // "<u>long question;<a>b;": 22 tokens.
    #expect(result.counts.tokens?.cutOff == 17)
    #expect(result.counts.tokens?.fullyMasked == 5)
    #expect(result.counts.tokens?.samplesCutToNothing == 1)
    #expect(result.counts.tokens?.kept == 0)
  }

  @Test func textsAndConversationsMayHavePoliciesOfTheirOwn() throws {
    let tokenizer = byteTokenizer(
      TokenizingOptions(sequenceLength: 7, overlong: .truncate, overlongTexts: .keep))
    let text = try tokenizer.tokenize(textRecord("abcdefghij"))
    #expect(text.samples.map(marked) == ["abcdefghij"])
    #expect(text.counts.splitTexts == 1 && text.counts.truncated == 0)
    #expect(text.counts.losses.isEmpty)
    let chat = try tokenizer.tokenize(chatRecord([("assistant", "abcdefghij")]))
    #expect(chat.samples.map(marked) == ["...abcd"])
    #expect(chat.counts.truncated == 1)
    #expect(chat.counts.tokens?.cutOff == 7)
    // A text in the layout of a conversation is a text.
    let raw = try tokenizer.tokenize(chatRecord([("pretrain", "abcdefghij")]))
    #expect(raw.samples.isEmpty && raw.counts.splitTexts == 1)
  }

  @Test func everyLossIsToldAsAShare() throws {
    var sum = TokenizingCounts()
    let chats = [
      [("user", "hi"), ("assistant", "a")], [("assistant", "abcdefghijklmnopqrst")],
      [("user", "a long question"), ("assistant", "b")], [("user", "hi")],
    ]
    let tokenizer = byteTokenizer(TokenizingOptions(sequenceLength: 13))
    for chat in chats { sum += try tokenizer.tokenize(chatRecord(chat)).counts }
    // Of 11, 24, 24 and 6 tokens 11, 13, none and none are kept.
    #expect(
      sum.losses == [
        "33.8 % of the tokens were cut off: 2 of 4 samples are longer than the sequence length",
        "29.2 % of the tokens were left out: 2 of 4 samples have no token with a loss, 1 of them "
          + "because of the cut",
      ])
    var dropped = TokenizingCounts()
    let dropping = byteTokenizer(TokenizingOptions(sequenceLength: 13, overlong: .drop))
    for chat in chats.prefix(2) { dropped += try dropping.tokenize(chatRecord(chat)).counts }
    dropped.failed = 1
    dropped.records = 3
    dropped.unreadable = 1
    #expect(
      dropped.losses == [
        "68.6 % of the tokens were left out: 1 of 2 samples are longer than the sequence length",
        "33.3 % of the records were left out: the template refused 1 of 3",
        "25.0 % of the records were left out: 1 of 4 are broken",
      ])
  }

  @Test func sharesAreNeverRoundedToNothingOrAll() {
    var counts = TokenizingCounts()
    counts.samples = 1
    counts.tokens?.kept = 1_000_000
    counts.tokens?.cutOff = 1
    #expect(counts.losses[0].hasPrefix("less than 0.1 % of the tokens"))
    counts.tokens?.kept = 1
    counts.tokens?.cutOff = 1_000_000
    #expect(counts.losses[0].hasPrefix("more than 99.9 % of the tokens"))
  }

  @Test func countsOfAnEarlierVersionSayThatTheShareIsNotKnown() throws {
    let old = """
      {"records":4,"samples":1,"truncated":4,"droppedOverlong":0,"splitTexts":0,"fullyMasked":3,\
      "empty":0,"failed":0,"unreadable":0}
      """
    var sum = TokenizingCounts()
    sum += try JSONDecoder().decode(TokenizingCounts.self, from: Data(old.utf8))
    #expect(sum.tokens == nil)
    #expect(sum.losses.count == 1)
    #expect(sum.losses[0].hasPrefix("4 of 4 samples were cut"))
    #expect(sum.losses[0].contains("not known"))
  }

  @Test func idsOutsideTheModelsVocabularyAreErrorsWithEverythingNeeded() {
    let error = #expect(throws: TokenizingError.self) {
      try byteTokenizer(TokenizingOptions(modelVocabularySize: 100, onError: .skip))
        .tokenize(textRecord("abcz", file: "part.jsonl", line: 17))
    }
    #expect(error?.code == .tokenOutsideVocabulary)
    #expect(
      error?.message.hasPrefix(
        "part.jsonl:17: token 122 (\"z\") is outside the model's vocabulary of 100") == true)
    #expect(error?.message.contains("at least 123") == true)
  }

  @Test func recordsThatTheTemplateRefusesStopOrAreCounted() throws {
    let record = chatRecord([("broken", "x")], line: 19)
    let error = #expect(throws: TokenizingError.self) {
      try byteTokenizer(TokenizingOptions()).tokenize(record)
    }
    #expect(error?.message == "chat.jsonl:19: the role is broken")
    let skipped = try byteTokenizer(TokenizingOptions(onError: .skip)).tokenize(record)
    #expect(skipped.samples.isEmpty && skipped.counts.failed == 1)
  }

  @Test func conversationsWithoutATemplateAreErrors() {
    let tokenizer = SampleTokenizer(
      options: TokenizingOptions(), encode: { _ in [1] }, segments: nil)
    let error = #expect(throws: TokenizingError.self) {
      try tokenizer.tokenize(chatRecord([("user", "x")]))
    }
    #expect(error?.code == .noTemplate)
  }

  @Test func aMostlyMaskedDataSetNamesItsFiles() throws {
    var good = FileCounts(file: "good.jsonl")
    good.counts.samples = 2
    var bad = FileCounts(file: "bad.jsonl")
    bad.counts.fullyMasked = 7
    let error = #expect(throws: TokenizingError.self) {
      try TokenizingOptions(maximumMaskedShare: 0.5).check([good, bad])
    }
    #expect(error?.code == .mostlyMasked)
    #expect(error?.message.contains("7 of 9 samples") == true)
    #expect(error?.message.contains("bad.jsonl: 7 of 7") == true)
    try TokenizingOptions(maximumMaskedShare: 0.8).check([good, bad])
  }

  @Test func aDataSetWithoutSamplesIsAnError() {
    let error = #expect(throws: TokenizingError.self) {
      try TokenizingOptions().check([FileCounts(file: "empty.jsonl")])
    }
    #expect(error?.code == .noSamples)
    #expect(error?.message.contains("empty.jsonl") == true)
  }
}
