import Foundation

/// The loss curve of a run as an SVG image that needs nothing else to be shown.
public struct LossChart: Sendable {
  /// Text above the chart, usually the name of the run.
  public var title: String
  /// The curves.
  public var history: MetricsHistory
  /// Width of the image in pixels.
  public var width = 860.0
  /// Height of the image in pixels.
  public var height = 460.0

  /// Creates a chart of a run's losses.
  public init(title: String, history: MetricsHistory) {
    self.title = title
    self.history = history
  }

  private enum Color {
    static let ink = "#1f2933"
    static let muted = "#6b7785"
    static let grid = "#e6e9ed"
    static let training = "#2f6fbb"
    static let evaluation = "#d9662b"
  }

  /// The image as SVG.
  public func svg() -> String {
    let training = history.training
    let all = training + history.evaluation
    let range = ChartCurve.range(all.map(\.loss))
    let padding = (range.high - range.low) * 0.06
    let left = 68.0
    let horizontal = ChartScale(
      low: Double(min(all.map(\.step).min() ?? 0, 0)), high: Double(all.map(\.step).max() ?? 1),
      start: left, end: width - 26)
    let vertical = ChartScale(
      low: range.low - padding, high: range.high + padding, start: height - 56, end: 64)
    var parts = [header, frame(horizontal, vertical), axes(horizontal, vertical)]
    if all.allSatisfy({ !$0.loss.isFinite }) {
      parts.append(
        text("no loss yet", x: width / 2, y: height / 2, size: 14, color: Color.muted))
    } else {
      parts.append("<g clip-path=\"url(#plot)\">")
      parts += curves(horizontal, vertical)
      parts.append("</g>")
      parts += markers(horizontal, vertical)
      parts.append(legend())
    }
    return "\(parts.joined(separator: "\n"))\n</svg>\n"
  }

  // MARK: - Parts

  private var header: String {
    let size = "width=\"\(number(width))\" height=\"\(number(height))\""
    let box = "viewBox=\"0 0 \(number(width)) \(number(height))\""
    let fonts = "font-family=\"Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\""
    return """
      <svg xmlns="http://www.w3.org/2000/svg" \(size) \(box) \(fonts) role="img">
      <title>\(Self.escaped(title))</title>
      <rect width="100%" height="100%" fill="#ffffff"/>
      \(text(title, x: 68, y: 34, size: 17, color: Color.ink, anchor: "start", weight: 600))
      """
  }

  /// The region that curves are cut to.
  private func frame(_ horizontal: ChartScale, _ vertical: ChartScale) -> String {
    let (x, y) = (horizontal.start, vertical.end)
    let size =
      "width=\"\(number(horizontal.end - x))\" height=\"\(number(vertical.start - y))\""
    return "<clipPath id=\"plot\"><rect x=\"\(number(x))\" y=\"\(number(y))\" \(size)/></clipPath>"
  }

  private func axes(_ horizontal: ChartScale, _ vertical: ChartScale) -> String {
    var parts: [String] = []
    let step = vertical.tickStep(count: 6)
    for tick in vertical.ticks(count: 6) {
      let y = vertical.position(tick)
      parts.append(line(horizontal.start, y, horizontal.end, y, color: Color.grid))
      let label = ChartScale.label(tick, step: step)
      parts.append(
        text(label, x: horizontal.start - 9, y: y + 4, size: 12, color: Color.muted, anchor: "end"))
    }
    for tick in horizontal.ticks(count: 8, minimumStep: 1) {
      let x = horizontal.position(tick)
      parts.append(line(x, vertical.start, x, vertical.start + 5, color: Color.muted))
      parts.append(
        text(Self.stepLabel(tick), x: x, y: vertical.start + 20, size: 12, color: Color.muted))
    }
    parts.append(
      line(horizontal.start, vertical.start, horizontal.end, vertical.start, color: Color.muted))
    let middle = (horizontal.start + horizontal.end) / 2
    parts.append(text("step", x: middle, y: height - 14, size: 13, color: Color.ink))
    let center = (vertical.start + vertical.end) / 2
    let turn = "transform=\"rotate(-90 20 \(number(center)))\""
    parts.append(text("loss", x: 20, y: center, size: 13, color: Color.ink, extra: turn))
    return parts.joined(separator: "\n")
  }

  private func curves(_ horizontal: ChartScale, _ vertical: ChartScale) -> [String] {
    let raw = ChartCurve.thinned(history.training, to: 1200)
    let smooth = ChartCurve.thinned(smoothedTraining, to: 600)
    return [
      path(raw, horizontal, vertical, color: Color.training, width: 1, opacity: 0.28),
      path(smooth, horizontal, vertical, color: Color.training, width: 2.2, opacity: 1),
      path(
        history.evaluation, horizontal, vertical, color: Color.evaluation, width: 1.4, opacity: 0.8,
        dash: "5 4"),
    ]
  }

  /// The evaluations as circles, which the plot's edge must not cut.
  private func markers(_ horizontal: ChartScale, _ vertical: ChartScale) -> [String] {
    ChartCurve.thinned(history.evaluation, to: 200)
      .filter { $0.loss >= vertical.low && $0.loss <= vertical.high }
      .map { marker(horizontal.position(Double($0.step)), vertical.position($0.loss)) }
  }

  /// The training curve without its noise.
  private var smoothedTraining: [MetricsHistory.Point] {
    ChartCurve.smoothed(history.training, reach: history.training.count / 60)
  }

  /// Names of the curves with their last values, at the top right.
  private func legend() -> String {
    var parts: [String] = []
    var x = width - 26
    let y = 34.0
    func add(_ label: String, _ sample: (Double) -> String) {
      let textWidth = Double(label.count) * 6.7
      parts.append(text(label, x: x, y: y, size: 12.5, color: Color.ink, anchor: "end"))
      parts.append(sample(x - textWidth - 26))
      x -= textWidth + 50
    }
    if let last = history.evaluation.last(where: \.loss.isFinite) {
      add("evaluation \(NumberFormat.loss(last.loss))") { x in
        let dash = "stroke-dasharray=\"5 4\""
        return line(x, y - 4, x + 20, y - 4, color: Color.evaluation, width: 1.6, extra: dash)
          + marker(x + 10, y - 4)
      }
    }
    if let last = smoothedTraining.last(where: \.loss.isFinite) {
      add("training \(NumberFormat.loss(last.loss)) (smoothed)") { x in
        line(x, y - 4, x + 20, y - 4, color: Color.training, width: 2.4)
      }
    }
    return parts.joined(separator: "\n")
  }

  // MARK: - Elements

  private func path(
    _ points: [MetricsHistory.Point], _ horizontal: ChartScale, _ vertical: ChartScale,
    color: String, width: Double, opacity: Double, dash: String? = nil
  ) -> String {
    var data = ""
    var isDrawing = false
    for point in points {
      guard point.loss.isFinite else {
        isDrawing = false
        continue
      }
      let x = number(horizontal.position(Double(point.step)))
      let y = number(vertical.position(point.loss))
      data += "\(isDrawing ? "L" : "M")\(x) \(y)"
      isDrawing = true
    }
    guard !data.isEmpty else { return "" }
    let style = "stroke=\"\(color)\" stroke-width=\"\(number(width))\" opacity=\"\(opacity)\""
    let dashes = dash.map { " stroke-dasharray=\"\($0)\"" } ?? ""
    return "<path d=\"\(data)\" fill=\"none\" stroke-linejoin=\"round\" \(style)\(dashes)/>"
  }

  private func marker(_ x: Double, _ y: Double) -> String {
    let place = "cx=\"\(number(x))\" cy=\"\(number(y))\""
    let style = "fill=\"#ffffff\" stroke=\"\(Color.evaluation)\" stroke-width=\"2\""
    return "<circle \(place) r=\"3.4\" \(style)/>"
  }

  private func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, color: String, width: Double = 1,
    extra: String = ""
  ) -> String {
    let from = "x1=\"\(number(x1))\" y1=\"\(number(y1))\""
    let to = "x2=\"\(number(x2))\" y2=\"\(number(y2))\""
    return "<line \(from) \(to) stroke=\"\(color)\" stroke-width=\"\(number(width))\" \(extra)/>"
  }

  private func text(
    _ content: String, x: Double, y: Double, size: Double, color: String,
    anchor: String = "middle", weight: Int = 400, extra: String = ""
  ) -> String {
    let place = "x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\""
    let style = "font-size=\"\(number(size))\" font-weight=\"\(weight)\" fill=\"\(color)\""
    return "<text \(place) \(style) \(extra)>\(Self.escaped(content))</text>"
  }

  /// A coordinate with one decimal, which no eye can tell from more.
  private func number(_ value: Double) -> String {
    let text = NumberFormat.fixed(value, digits: 1)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }

  /// A step in full up to 9999, with a prefix above: `12k`, `1.5M`.
  private static func stepLabel(_ step: Double) -> String {
    if abs(step) < 10_000 { return NumberFormat.fixed(step, digits: 0) }
    let (value, unit) = abs(step) < 1e6 ? (step / 1e3, "k") : (step / 1e6, "M")
    return value == value.rounded()
      ? "\(NumberFormat.fixed(value, digits: 0))\(unit)"
      : "\(NumberFormat.fixed(value, digits: 1))\(unit)"
  }

  /// Text that XML reads as itself; control characters, which XML forbids, become spaces.
  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
        result += " "
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// A curve in one line of text.
public enum Sparkline {
  /// Blocks of one to eight eighths of a line's height.
  private static let blocks = Array(
    "\u{2581}\u{2582}\u{2583}\u{2584}\u{2585}\u{2586}\u{2587}\u{2588}")

  /// Draws values as blocks of eight heights, lowest to highest.
  ///
  /// - Parameters:
  ///   - values: The curve; more than `width` of them are averaged in groups. Values that are not
  ///     finite are left out of their group, and a group without any other shows as `!`.
  ///   - width: Characters at most.
  /// - Returns: An empty text without values or width.
  public static func text(_ values: [Double], width: Int) -> String {
    guard !values.isEmpty, width > 0 else { return "" }
    let count = min(width, values.count)
    let means = (0..<count).map { column -> Double? in
      let group = values[(column * values.count / count)..<((column + 1) * values.count / count)]
      let finite = group.filter(\.isFinite)
      return finite.isEmpty ? nil : finite.reduce(0) { $0 + $1 / Double(finite.count) }
    }
    let finite = means.compactMap { $0 }
    guard let low = finite.min(), let high = finite.max() else {
      return String(repeating: "!", count: count)
    }
    return String(
      means.map { mean -> Character in
        guard let mean else { return "!" }
        guard high > low else { return blocks[3] }
        // Halved before subtracting, so that huge values of both signs do not overflow.
        let share = (mean / 2 - low / 2) / (high / 2 - low / 2)
        return blocks[min(max(Int(share * Double(blocks.count)), 0), blocks.count - 1)]
      })
  }
}
