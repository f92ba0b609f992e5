import Foundation
import Testing

@testable import XTunerRun

@Suite struct LossChartTests {
  /// A curve that looks like one.
  static func history(steps: Int) -> MetricsHistory {
    var history = MetricsHistory()
    for step in 1...steps {
      let noise = sin(Double(step) * 12.9898) * 0.25
      let progress = Double(step) / Double(steps)
      history.training.append(
        .init(step: step, loss: 1.2 + 6 * exp(-9 * progress) + noise * (1.2 - progress)))
      if step % max(steps / 8, 1) == 0 {
        history.evaluation.append(.init(step: step, loss: 1.35 + 6 * exp(-9 * progress)))
      }
    }
    return history
  }

  /// A whole image, without any number that is not finite.
  private func isSound(_ svg: String) -> Bool {
    svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n") && !svg.contains("nan")
      && !svg.contains("inf\"") && !svg.contains("NaN")
  }

  @Test func drawsBothCurvesWithAxesAndTitle() {
    let svg = LossChart(title: "a < b & \"c\"\u{1}", history: Self.history(steps: 500)).svg()
    #expect(isSound(svg))
    #expect(svg.contains("<title>a &lt; b &amp; &quot;c&quot; </title>"))
    #expect(svg.contains(">loss</text>"))
    #expect(svg.contains(">step</text>"))
    #expect(svg.contains(">500</text>"))
    #expect(svg.components(separatedBy: "<path ").count == 4)
    #expect(svg.components(separatedBy: "<circle ").count == 8 + 1 + 1)
  }

  @Test(arguments: [[], [1.0], [2, 2], [.nan, .nan], [1, .nan, 3], [1e30, -1e30], [0, 0, 0]])
  func drawsOddCurves(losses: [Double]) {
    var history = MetricsHistory()
    history.training = losses.enumerated().map { .init(step: $0.offset + 1, loss: $0.element) }
    #expect(isSound(LossChart(title: "x", history: history).svg()))
  }

  @Test func longRunsStaySmall() {
    let svg = LossChart(title: "x", history: Self.history(steps: 100_000)).svg()
    #expect(svg.utf8.count < 60_000)
    #expect(svg.contains(">100k</text>"))
  }

  @Test func ticksAreRound() {
    #expect(
      ChartScale(low: 0, high: 97, start: 0, end: 1).ticks(count: 5) == [0, 20, 40, 60, 80])
    #expect(
      ChartScale(low: -1.2, high: 1.2, start: 0, end: 1).ticks(count: 5) == [-1, -0.5, 0, 0.5, 1])
    #expect(
      ChartScale(low: 0, high: 2, start: 0, end: 1).ticks(count: 8, minimumStep: 1) == [0, 1, 2])
    #expect(ChartScale.label(0.30000000000000004, step: 0.1) == "0.3")
    #expect(ChartScale.label(2, step: 1) == "2")
    #expect(ChartScale.label(0.25, step: 0.05) == "0.25")
  }

  @Test func smoothingHasNoDelayAndPassesOverGaps() {
    let losses: [Double] = [4, 2, 6, .nan, 1, 2, 9]
    let points = losses.enumerated().map { MetricsHistory.Point(step: $0.offset, loss: $0.element) }
    let smooth = ChartCurve.smoothed(points, reach: 2).map(\.loss)
    #expect(smooth[0] == 4)
    #expect(smooth[1] == 4)
    #expect(smooth[2] == 3.25)
    #expect(smooth[3].isNaN)
    #expect(smooth[4] == 4.5)
    #expect(smooth[6] == 4)
    let line = (0..<101).map { MetricsHistory.Point(step: $0, loss: Double($0)) }
    let same = ChartCurve.smoothed(line, reach: 7).map(\.loss)
    #expect(same.prefix(93) == line.map(\.loss).prefix(93))
  }

  @Test func thinningKeepsPeaks() {
    var points = (1...10_007).map { MetricsHistory.Point(step: $0, loss: 1) }
    points[5003].loss = 9
    let thin = ChartCurve.thinned(points, to: 100)
    #expect(thin.count <= 100)
    #expect(thin.contains { $0.loss == 9 })
    #expect(zip(thin, thin.dropFirst()).allSatisfy { $0.step < $1.step })
  }

  @Test func oneSpikeDoesNotFlattenTheCurve() {
    let losses = (0..<1000).map { 2 + Double($0) / 1000 } + [500]
    #expect(ChartCurve.range(losses).high < 7)
    #expect(ChartCurve.range([2, 9, 3, 8]) == (2, 9))
  }
}
