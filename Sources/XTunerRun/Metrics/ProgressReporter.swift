import Foundation
import Synchronization
public import XTunerConfiguration

/// Shows a run's progress to a person: one status line on a terminal, plain lines elsewhere.
public final class ProgressReporter: Sendable {
  /// How progress appears.
  public enum Style: Sendable, Equatable {
    /// One line that is drawn again and again.
    case statusLine
    /// A line at each logging interval.
    case plainLines
    /// Nothing but notes.
    case quiet
  }

  private struct State {
    /// Text of the status line on the screen now.
    var line = ""
    var lastDrawn: ContinuousClock.Instant?
    /// Smoothed seconds of a step, for the estimate.
    var stepSeconds: Double?
    var evaluationLoss: Double?
    /// The last step that was shown on the status line.
    var shown: StepMetrics?
  }

  /// A fact about a step; those with the highest rank go first where there is no room.
  private struct Field {
    var text: String
    var rank: Int
  }

  private let style: Style
  private let totalSteps: Int
  private let everySteps: Int
  private let hasColor: Bool
  private let width: @Sendable () -> Int
  private let now: @Sendable () -> ContinuousClock.Instant
  private let output: @Sendable (String) -> Void
  private let state = Mutex(State())

  /// Creates a reporter.
  ///
  /// - Parameters:
  ///   - style: How progress appears.
  ///   - totalSteps: Steps of the run.
  ///   - everySteps: Steps between two plain lines.
  ///   - hasColor: Whether escape codes may colour the text.
  ///   - width: Columns of the terminal, asked at every line.
  ///   - now: The clock; replaced in tests.
  ///   - output: Takes the text, usually to standard error.
  public init(
    style: Style, totalSteps: Int, everySteps: Int = 1, hasColor: Bool = false,
    width: @escaping @Sendable () -> Int = { 80 },
    now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
    output: @escaping @Sendable (String) -> Void
  ) {
    self.style = style
    self.totalSteps = totalSteps
    self.everySteps = everySteps
    self.hasColor = hasColor
    self.width = width
    self.now = now
    self.output = output
  }

  /// Creates a reporter that writes to standard error as the configuration asks.
  public convenience init(logging: LoggingOptions, totalSteps: Int) {
    let terminal = Terminal.standardError
    let style: Style =
      switch logging.console {
      case .auto: terminal.isInteractive ? .statusLine : .plainLines
      case .plain: .plainLines
      case .quiet: .quiet
      }
    self.init(
      style: style, totalSteps: totalSteps, everySteps: logging.everySteps,
      hasColor: terminal.hasColor && style == .statusLine, width: { terminal.columns },
      output: { terminal.write($0) })
  }

  /// Shows a finished step; the status line is drawn ten times a second at most.
  public func report(_ metrics: StepMetrics) {
    let instant = now()
    state.withLock { state in
      state.stepSeconds = Self.smoothed(state.stepSeconds, with: metrics.stepSeconds)
      let isLast = metrics.step >= totalSteps
      switch style {
      case .quiet:
        return
      case .plainLines:
        guard metrics.step % everySteps == 0 || isLast || metrics.step == 1 else { return }
        output("\(Self.joined(fields(metrics, state)))\n")
      case .statusLine:
        if let last = state.lastDrawn, instant - last < .milliseconds(100), !isLast { return }
        state.lastDrawn = instant
        state.shown = metrics
        state.line = statusLine(metrics, state)
        output("\r\(painted(state.line))\u{1B}[K")
      }
    }
  }

  /// Shows the result of an evaluation.
  public func report(_ metrics: EvaluationMetrics) {
    state.withLock { state in
      state.evaluationLoss = metrics.loss
      // The line that `note` draws again, which may be the last one.
      if let shown = state.shown { state.line = statusLine(shown, state) }
    }
    guard style != .quiet else { return }
    let duration = NumberFormat.duration(seconds: metrics.seconds)
    let loss = NumberFormat.loss(metrics.loss)
    let sources = metrics.sourceLosses.map { "\($0.name) \(NumberFormat.loss($0.value))" }
    let parts = sources.count > 1 ? " (\(sources.joined(separator: ", ")))" : ""
    note("step \(metrics.step)/\(totalSteps)  evaluation loss \(loss)\(parts)  in \(duration)")
  }

  /// Prints a line above the status line, also when progress is quiet.
  public func note(_ message: String) {
    state.withLock { state in
      guard style == .statusLine else { return output("\(message)\n") }
      let message = message.wrapped(columns: width())
      guard !state.line.isEmpty else { return output("\(message)\n") }
      output("\r\u{1B}[K\(message)\n\(painted(state.line))\u{1B}[K")
    }
  }

  /// Ends the status line, so that what follows starts on a line of its own.
  public func finish() {
    state.withLock { state in
      if style == .statusLine, !state.line.isEmpty { output("\n") }
      state.line = ""
      state.shown = nil
    }
  }

  // MARK: - Text

  /// The facts about a step in the order in which they are shown.
  ///
  /// How far the run is and how well it does stay longest: a norm or the share of a peak rate says
  /// little in passing, and both are in the metrics.
  private func fields(_ metrics: StepMetrics, _ state: State) -> [Field] {
    let step = String(metrics.step)
    let total = String(totalSteps)
    let margin = String(repeating: " ", count: max(total.count - step.count, 0))
    var fields = [Field(text: "step \(margin)\(step)/\(total)", rank: 0)]
    if metrics.isSkipped { fields.append(Field(text: "SKIPPED", rank: 1)) }
    fields += [
      Field(text: "loss \(NumberFormat.loss(metrics.loss))", rank: 2),
      Field(text: "lr \(NumberFormat.scientific(metrics.learningRate))", rank: 7),
      Field(text: "norm \(NumberFormat.fixed(metrics.gradientNorm, digits: 2))", rank: 9),
      Field(text: "\(NumberFormat.si(metrics.tokensPerSecond)) tok/s", rank: 6),
    ]
    if let share = metrics.modelFlopsUtilization {
      fields.append(Field(text: "MFU \(NumberFormat.percent(share))", rank: 8))
    }
    let remaining = Double(max(totalSteps - metrics.step, 0)) * (state.stepSeconds ?? .nan)
    fields.append(Field(text: "ETA \(NumberFormat.duration(seconds: remaining))", rank: 3))
    if let bytes = metrics.memoryPeakBytes {
      fields.append(Field(text: NumberFormat.bytes(bytes), rank: 5))
    }
    if let loss = state.evaluationLoss {
      fields.append(Field(text: "eval \(NumberFormat.loss(loss))", rank: 4))
    }
    return fields
  }

  private static func joined(_ fields: [Field]) -> String {
    fields.map(\.text).joined(separator: "  ")
  }

  /// As many fields as fit, and a bar where there is room for one.
  private func statusLine(_ metrics: StepMetrics, _ state: State) -> String {
    // The last column stays free: many terminals break the line when it is filled.
    let room = max(width() - 1, 20)
    var fields = fields(metrics, state)
    while fields.count > 1, Self.joined(fields).count > room {
      let least = fields.indices.max { fields[$0].rank < fields[$1].rank }
      if let least { fields.remove(at: least) }
    }
    let text = Self.joined(fields)
    let barWidth = min(room - text.count - 2, 24)
    guard barWidth >= 10 else { return String(text.prefix(room)) }
    let share = Double(metrics.step) / Double(max(totalSteps, 1))
    return "\(Self.bar(share: share, width: barWidth))  \(text)"
  }

  /// A bar of full blocks, one block in eighths, and shade for the rest.
  static func bar(share: Double, width: Int) -> String {
    let eighths = Int((min(max(share, 0), 1) * Double(width * 8)).rounded(.down))
    let shade: Character = "\u{2591}"
    // Nothing, then blocks of one to seven eighths of a column's width.
    let parts = [shade] + Array("\u{258F}\u{258E}\u{258D}\u{258C}\u{258B}\u{258A}\u{2589}")
    let full = String(repeating: "\u{2588}", count: eighths / 8)
    guard eighths / 8 < width else { return full }
    let rest = String(repeating: shade, count: width - eighths / 8 - 1)
    return "\(full)\(parts[eighths % 8])\(rest)"
  }

  /// The bar in green, when colours are wanted.
  private func painted(_ line: String) -> String {
    guard hasColor, let end = line.firstIndex(of: " "), line.first != "s" else { return line }
    return "\u{1B}[32m\(line[..<end])\u{1B}[0m\(line[end...])"
  }

  /// A running mean over about ten steps: steady, and soon right again after a pause.
  private static func smoothed(_ mean: Double?, with value: Double) -> Double {
    guard let mean else { return value }
    return mean + (value - mean) * 0.1
  }
}
