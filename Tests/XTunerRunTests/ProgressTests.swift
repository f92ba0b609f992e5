import Foundation
import Synchronization
import Testing

@testable import XTunerRun

@Suite struct NumberFormatTests {
  @Test(arguments: [
    (0.0, "0.0s"), (3.14, "3.1s"), (42.4, "42s"), (59.6, "1m 00s"), (723, "12m 03s"),
    (18_420, "5h 07m"), (273_600, "3d 04h"), (.nan, "--"), (.infinity, "--"), (-1, "--"),
    (1e300, "347222d 05h"),
  ])
  func durations(seconds: Double, text: String) {
    #expect(NumberFormat.duration(seconds: seconds) == text)
  }

  @Test(arguments: [
    (0.0, "0"), (7, "7"), (1.5, "1.50"), (12.34, "12.3"), (99.96, "100"), (987, "987"),
    (999.6, "1.00k"), (12_345, "12.3k"), (4_560_000, "4.56M"), (3e13, "30.0T"), (-2500, "-2.50k"),
    (.nan, "nan"), (-.infinity, "-inf"),
  ])
  func siPrefixes(value: Double, text: String) {
    #expect(NumberFormat.si(value) == text)
  }

  @Test(arguments: [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_610_612_736, "1.50 GiB"),
    (1_048_575, "1.00 MiB"),
  ])
  func sizes(count: Int, text: String) {
    #expect(NumberFormat.bytes(count) == text)
  }

  @Test func losses() {
    #expect(NumberFormat.loss(2.34567) == "2.3457")
    #expect(NumberFormat.loss(0) == "0.0000")
    #expect(NumberFormat.loss(1e-5) == "1.00e-05")
    #expect(NumberFormat.loss(1e7) == "1.00e+07")
    #expect(NumberFormat.loss(.nan) == "nan")
    #expect(NumberFormat.percent(0.3125) == "31.2%")
  }
}

@Suite struct SparklineTests {
  @Test func drawsLowestToHighest() {
    #expect(Sparkline.text([8, 7, 6, 5, 4, 3, 2, 1], width: 20) == "█▇▆▅▄▃▂▁")
    #expect(Sparkline.text([1, 1, 3, 3], width: 2) == "▁█")
  }

  @Test func survivesOddValues() {
    #expect(Sparkline.text([], width: 5) == "")
    #expect(Sparkline.text([1, 2], width: 0) == "")
    #expect(Sparkline.text([2, 2, 2], width: 5) == "▄▄▄")
    #expect(Sparkline.text([1, .nan, 2], width: 5) == "▁!█")
    #expect(Sparkline.text([.nan, .infinity], width: 5) == "!!")
    #expect(Sparkline.text([-1.7e308, 1.7e308], width: 5) == "▁█")
    #expect(Sparkline.text(Array(repeating: 1.7e308, count: 7), width: 2) == "▄▄")
  }
}

@Suite struct ProgressReporterTests {
  /// Collects what a reporter writes; its clock moves when told.
  final class Screen: Sendable {
    let text = Mutex("")
    let time = Mutex(ContinuousClock.now)

    func reporter(
      _ style: ProgressReporter.Style, everySteps: Int = 1, width: Int = 120, color: Bool = false
    ) -> ProgressReporter {
      ProgressReporter(
        style: style, totalSteps: 200, everySteps: everySteps, hasColor: color,
        width: { width }, now: { self.time.withLock { $0 } },
        output: { part in self.text.withLock { $0 += part } })
    }

    var shown: String { text.withLock { $0 } }
  }

  private var metrics: StepMetrics {
    var metrics = step(50)
    metrics.stepSeconds = 2
    metrics.modelFlopsUtilization = 0.312
    metrics.memoryPeakBytes = 3_221_225_472
    return metrics
  }

  @Test func plainLinesHaveEveryFact() {
    let screen = Screen()
    screen.reporter(.plainLines).report(metrics)
    #expect(
      screen.shown == """
        step  50/200  loss 2.5000  lr 3.00e-04  norm 1.25  12.3k tok/s  MFU 31.2%  ETA 5m 00s  \
        3.00 GiB

        """)
  }

  @Test func plainLinesComeAtTheirInterval() {
    let screen = Screen()
    let reporter = screen.reporter(.plainLines, everySteps: 7)
    for number in 1...15 { reporter.report(step(number)) }
    reporter.report(step(200))
    let steps = screen.shown.split(separator: "\n").map { $0.split(separator: "/")[0] }
    #expect(steps == ["step   1", "step   7", "step  14", "step 200"])
  }

  @Test func statusLineIsRedrawnInPlaceAndFitsTheTerminal() {
    for width in [30, 60, 90, 120, 160] {
      let screen = Screen()
      screen.reporter(.statusLine, width: width).report(metrics)
      #expect(screen.shown.hasPrefix("\r") && screen.shown.hasSuffix("\u{1B}[K"))
      let line = screen.shown.dropFirst().dropLast(3)
      #expect(line.count < width, "\(line)")
      #expect(line.contains("step  50/200"))
    }
    let screen = Screen()
    screen.reporter(.statusLine).report(metrics)
    #expect(
      screen.shown.hasPrefix("\r█████▌░░░░░░░░░░░░░░░░  step  50/200  loss 2.5000"),
      "\(screen.shown)")
  }

  /// How far, how well and how much memory stay when norm and MFU have no room.
  @Test func ofANarrowLineNormAndUtilisationGoFirst() {
    func line(width: Int) -> String {
      let screen = Screen()
      let reporter = screen.reporter(.statusLine, width: width)
      reporter.report(EvaluationMetrics(step: 40, loss: 1.5, lossTokens: 1, seconds: 1))
      screen.text.withLock { $0 = "" }
      reporter.report(metrics)
      return String(screen.shown.dropFirst().dropLast(3))
    }
    #expect(
      line(width: 80)
        == "step  50/200  loss 2.5000  12.3k tok/s  ETA 5m 00s  3.00 GiB  eval 1.5000")
    #expect(line(width: 60) == "step  50/200  loss 2.5000  ETA 5m 00s  eval 1.5000")
    #expect(
      line(width: 90)
        == "step  50/200  loss 2.5000  lr 3.00e-04  12.3k tok/s  ETA 5m 00s  3.00 GiB  eval 1.5000")
  }

  @Test func theLastLineShowsTheLastEvaluation() throws {
    let screen = Screen()
    let reporter = screen.reporter(.statusLine, width: 80)
    reporter.report(EvaluationMetrics(step: 100, loss: 1.5, lossTokens: 1, seconds: 1))
    var last = metrics
    last.step = 200
    reporter.report(last)
    reporter.report(EvaluationMetrics(step: 200, loss: 1.25, lossTokens: 1, seconds: 1))
    reporter.finish()
    let line = try #require(screen.shown.split(separator: "\n").last)
    #expect(line.contains("step 200/200") && line.contains("eval 1.2500"), "\(line)")
  }

  @Test func longNotesBreakBetweenWords() {
    let screen = Screen()
    let reporter = screen.reporter(.statusLine, width: 30)
    reporter.report(metrics)
    reporter.note("SIGINT (Ctrl-C): stopping after this step, with a checkpoint")
    let lines = screen.shown.split(separator: "\n").map(String.init)
    #expect(
      lines.dropFirst().first == "after this step, with a" && lines[0].hasSuffix("stopping"),
      "\(lines)")
  }

  @Test func statusLineIsNotDrawnMoreThanTenTimesASecond() {
    let screen = Screen()
    let reporter = screen.reporter(.statusLine)
    for number in 1...5 {
      reporter.report(step(number))
      screen.time.withLock { $0 += .milliseconds(60) }
    }
    #expect(screen.shown.split(separator: "\r").count == 3)
  }

  @Test func notesStandAboveTheStatusLine() {
    let screen = Screen()
    let reporter = screen.reporter(.statusLine, width: 30)
    reporter.note("first")
    reporter.report(metrics)
    reporter.note("second")
    reporter.finish()
    reporter.note("third")
    let line = "step  50/200  loss 2.5000"
    #expect(
      screen.shown
        == "first\n\r\(line)\u{1B}[K\r\u{1B}[Ksecond\n\(line)\u{1B}[K\nthird\n")
  }

  @Test func quietShowsNotesOnly() {
    let screen = Screen()
    let reporter = screen.reporter(.quiet)
    reporter.report(metrics)
    reporter.report(EvaluationMetrics(step: 5, loss: 1, lossTokens: 1, seconds: 1))
    reporter.note("stopped")
    reporter.finish()
    #expect(screen.shown == "stopped\n")
  }

  @Test func evaluationsAndSkippedStepsAreShown() {
    let screen = Screen()
    let reporter = screen.reporter(.plainLines)
    reporter.report(EvaluationMetrics(step: 5, loss: 1.5, lossTokens: 1, seconds: 61))
    var skipped = metrics
    skipped.isSkipped = true
    reporter.report(skipped)
    #expect(screen.shown.hasPrefix("step 5/200  evaluation loss 1.5000  in 1m 01s\n"))
    #expect(screen.shown.contains("step  50/200  SKIPPED  loss"))
    #expect(screen.shown.hasSuffix("eval 1.5000\n"))
  }

  @Test func anEvaluationOfSeveralSourcesShowsEach() {
    let screen = Screen()
    let reporter = screen.reporter(.plainLines)
    reporter.report(
      EvaluationMetrics(
        step: 5, loss: 1.5, lossTokens: 1, seconds: 61,
        sourceLosses: [.init("web", 1.25), .init("chat", 2)]))
    #expect(
      screen.shown
        == "step 5/200  evaluation loss 1.5000 (web 1.2500, chat 2.0000)  in 1m 01s\n")
  }

  @Test func barFillsByEighths() {
    #expect(ProgressReporter.bar(share: 0, width: 4) == "░░░░")
    #expect(ProgressReporter.bar(share: 0.5, width: 4) == "██░░")
    #expect(ProgressReporter.bar(share: 0.65, width: 4) == "██▌░")
    #expect(ProgressReporter.bar(share: 7, width: 4) == "████")
  }

  @Test func coloursNeedATerminal() throws {
    let screen = Screen()
    screen.reporter(.statusLine, color: true).report(metrics)
    #expect(screen.shown.hasPrefix("\r\u{1B}[32m███"))
    let pipe = Terminal(descriptor: -1, environment: [:])
    #expect(!pipe.isInteractive && !pipe.hasColor && pipe.columns == 80)
  }
}
