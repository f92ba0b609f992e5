import Foundation
import Testing

@testable import XTunerData

@Suite struct DataStatisticsTests {
  private func statistics() throws -> DataStatistics {
    var counts = TokenizingCounts()
    counts.records = 12_345
    counts.truncated = 3
    return try DataStatistics(
      sources: [
        DataSource(name: "chat", samples: numberedSamples([5, 7, 3], isLabel: { $0 >= 2 })),
        DataSource(name: "text", samples: numberedSamples([11], first: 3), weight: 2),
      ],
      counts: [counts, counts], sequenceLength: 11)
  }

  @Test func countsTokensLossAndLengths() throws {
    let figures = try statistics()
    #expect(figures.sources.map(\.samples) == [3, 1])
    #expect(figures.sources.map(\.tokens) == [15, 11])
    #expect(figures.sources.map(\.lossTokens) == [9, 10])
    #expect(figures.sources[0].maskedTokenShare == 0.4)
    #expect(figures.total.tokens == 26)
    #expect(figures.total.lengths.maximum == 11)
    #expect(figures.total.counts?.records == 24_690)
  }

  @Test func packingCountsTheEpochWithItsWeights() throws {
    let figures = try statistics()
    #expect(figures.packing.map(\.mode) == [.bestFit, .split, .none])
    // 15 tokens of chat and twice the 11 of text: packs of 11, 11 and two for the chat.
    #expect(figures.packing.map(\.packs) == [4, 4, 5])
    #expect(figures.packing[1].efficiency == 37.0 / 44)
  }

  @Test func aModeThatCannotHoldASampleSaysWhy() throws {
    let figures = try DataStatistics(
      sources: [DataSource(name: "long", samples: numberedSamples([13]))], sequenceLength: 7)
    #expect(figures.packing[0].problem?.contains("13 tokens") == true)
    #expect(figures.packing[1].problem == nil)
    #expect(figures.text().contains("best_fit: sample 0 has 13 tokens"))
  }

  @Test func longTextsCountInPiecesWhereTheyAreTrainedInPieces() throws {
    let figures = try DataStatistics(
      sources: [DataSource(name: "long", samples: numberedSamples([13, 5]))], sequenceLength: 7,
      cutsLongSamples: true)
    #expect(figures.packing.map(\.problem) == [nil, nil, nil])
    #expect(figures.packing.map(\.packs) == [3, 3, 3])
  }

  @Test func theTextSaysWhatIsLost() throws {
    var counts = TokenizingCounts()
    counts.samples = 3
    counts.truncated = 2
    counts.tokens?.kept = 15
    counts.tokens?.cutOff = 85
    let text = try DataStatistics(
      sources: [DataSource(name: "chat", samples: numberedSamples([5, 7, 3]))], counts: [counts],
      sequenceLength: 7
    ).text()
    #expect(text.contains("\nchat: 85.0 % of the tokens were cut off: 2 of 3 samples"))
  }

  @Test func percentilesAreLengthsThatOccur() {
    let lengths = LengthStatistics((1...100).map { Int32($0 * 2) }.reversed())
    let figures: [Int] = [
      lengths.minimum, lengths.p50, lengths.p90, lengths.p99, lengths.maximum,
    ]
    let expected: [Int] = [2, 100, 180, 198, 200]
    #expect(figures == expected)
    #expect(lengths.mean == 101)
    let none = LengthStatistics([])
    #expect(none.maximum == 0 && none.mean == 0 && none.histogram.isEmpty)
  }

  @Test func theHistogramCoversAllLengths() {
    let lengths = LengthStatistics([0, 1, 2, 3, 7, 8, 8])
    #expect(lengths.histogram.map(\.minimum) == [0, 1, 2, 4, 8])
    #expect(lengths.histogram.map(\.maximum) == [0, 1, 3, 7, 15])
    #expect(lengths.histogram.map(\.count) == [1, 1, 2, 1, 2])
  }

  @Test func theTextIsAsciiFitsItsBarsAndNamesEverything() throws {
    let text = try statistics().text(width: 60)
    #expect(text.allSatisfy { $0.isASCII })
    for word in ["chat", "text", "total", "12,345", "40.00 %", "best_fit", "84.09 %"] {
      #expect(text.contains(word), "\(word) is missing in\n\(text)")
    }
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 60 }, "\(text)")
    let bars = text.split(separator: "\n").filter { $0.contains("#") }
    #expect(!bars.isEmpty)
  }

  @Test func columnsWithoutRoomFollowBelow() {
    let table = TextTable(
      header: ["name", "first", "second"], rows: [["a", "1", "22"], ["bcd", "333", "4"]])
    let wide = [
      "name  first  second", "----  -----  ------", "a         1      22", "bcd     333       4",
    ]
    #expect(table.lines() == wide)
    #expect(table.lines(width: 19) == wide)
    #expect(
      table.lines(width: 18) == [
        "name  first", "----  -----", "a         1", "bcd     333", "", "name  second",
        "----  ------", "a         22", "bcd        4",
      ])
    // A terminal that is narrower than any table: a column each.
    #expect(table.lines(width: 3) == table.lines(width: 18))
  }

  @Test func figuresSurviveJSON() throws {
    let figures = try statistics()
    let decoded = try JSONDecoder().decode(
      DataStatistics.self, from: JSONEncoder().encode(figures))
    #expect(decoded == figures)
  }

  @Test func emptyDataIsAnError() {
    #expect(throws: LoaderError.self) {
      try DataStatistics(
        sources: [DataSource(name: "none", samples: numberedSamples([]))], sequenceLength: 7)
    }
  }

  @Test func numbersAreGroupedAndRounded() {
    #expect(TextTable.grouped(1_234_567) == "1,234,567")
    #expect(TextTable.grouped(-999) == "-999")
    #expect(TextTable.fixed(1234.567, digits: 1) == "1,234.6")
    #expect(TextTable.fixed(0.05, digits: 2) == "0.05")
    #expect(TextTable.fixed(-0.001, digits: 2) == "0.00")
    #expect(TextTable.fixed(.nan, digits: 2) == "-")
  }
}
