/// What a step takes from moment to moment, as an SVG image that needs nothing else to be shown.
public struct MemoryChart: Sendable {
  /// One layer of the stack.
  public struct Part: Sendable {
    /// Such as `activations`.
    public var name: String
    /// Bytes at each moment.
    public var byteCounts: [Int]

    /// Names numbers.
    public init(name: String, byteCounts: [Int]) {
      (self.name, self.byteCounts) = (name, byteCounts)
    }
  }

  /// Text above the chart.
  public var title: String
  /// From the bottom up, all of one length.
  public var parts: [Part]
  /// What the moment with the most is called.
  public var peakName: String
  /// Width of the image in pixels.
  public var width = 860.0
  /// Height of the image in pixels.
  public var height = 460.0

  /// A chart of stacked parts.
  public init(title: String, parts: [Part], peakName: String) {
    (self.title, self.parts, self.peakName) = (title, parts, peakName)
  }

  private static let ink = "#1f2933"
  private static let muted = "#6b7785"
  private static let colors = [
    "#2f6fbb", "#7aa6d9", "#1f8a70", "#8cc9b5", "#c9a227", "#d9662b", "#e8a27c", "#8e5ea2",
    "#c5a3cf", "#9aa5b1",
  ]
  /// Columns that a picture of this size can show.
  private static let columnLimit = 600
  private static let unit = 1024.0 * 1024 * 1024

  /// The image as SVG.
  public func svg() -> String {
    let columns = columns()
    let shown = parts.indices.filter { part in columns.contains { $0[part] > 0 } }
    let totals = columns.map { $0.reduce(0, +) }
    let vertical = ChartScale(
      low: 0, high: (totals.max() ?? 0) * 1.08, start: height - 34, end: 64)
    let horizontal = ChartScale(
      low: 0, high: Double(max(columns.count, 1)), start: 78, end: width - 190)
    var elements = [header] + axis(horizontal, vertical)
    var below = [Double](repeating: 0, count: columns.count)
    for (place, part) in shown.enumerated() {
      let above = zip(below, columns).map { $0 + $1[part] }
      elements.append(area(below, above, horizontal, vertical, color: color(part)))
      elements += legend(parts[part].name, place: shown.count - 1 - place, color: color(part))
      below = above
    }
    elements += peak(totals, horizontal, vertical)
    return "\(elements.joined(separator: "\n"))\n</svg>\n"
  }

  private func color(_ part: Int) -> String { Self.colors[part % Self.colors.count] }

  /// Moments as columns of GiB; of several in one column that with the most.
  private func columns() -> [[Double]] {
    let count = parts.map(\.byteCounts.count).min() ?? 0
    let shown = min(count, Self.columnLimit)
    return (0..<shown).map { column in
      let moments = column * count / shown..<(column + 1) * count / shown
      let most = moments.max { total($0) < total($1) } ?? 0
      return parts.map { Double($0.byteCounts[most]) / Self.unit }
    }
  }

  private func total(_ moment: Int) -> Int { parts.reduce(0) { $0 + $1.byteCounts[moment] } }

  private var header: String {
    let size = "width=\"\(SVG.number(width))\" height=\"\(SVG.number(height))\""
    let box = "viewBox=\"0 0 \(SVG.number(width)) \(SVG.number(height))\""
    let fonts = "font-family=\"Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\""
    return """
      <svg xmlns="http://www.w3.org/2000/svg" \(size) \(box) \(fonts) role="img">
      <title>\(SVG.escaped(title))</title>
      <rect width="100%" height="100%" fill="#ffffff"/>
      \(SVG.text(title, x: 78, y: 34, size: 15, color: Self.ink, anchor: "start", weight: 600))
      """
  }

  private func axis(_ horizontal: ChartScale, _ vertical: ChartScale) -> [String] {
    let step = vertical.tickStep(count: 6)
    let lines = vertical.ticks(count: 6).map { tick in
      let y = vertical.position(tick)
      let label = ChartScale.label(tick, step: step)
      return SVG.line(horizontal.start, y, horizontal.end, y, color: "#e6e9ed")
        + SVG.text(
          label, x: horizontal.start - 9, y: y + 4, size: 12, color: Self.muted, anchor: "end")
    }
    let (middle, center) = (
      (horizontal.start + horizontal.end) / 2, (vertical.start + vertical.end) / 2
    )
    let turn = "transform=\"rotate(-90 20 \(SVG.number(center)))\""
    return lines + [
      SVG.text("GiB", x: 20, y: center, size: 13, color: Self.ink, extra: turn),
      SVG.text(
        "one step, action by action of its schedule", x: middle, y: height - 12, size: 13,
        color: Self.ink),
    ]
  }

  private func area(
    _ below: [Double], _ above: [Double], _ horizontal: ChartScale, _ vertical: ChartScale,
    color: String
  ) -> String {
    func points(_ values: [Double]) -> [String] {
      values.enumerated().flatMap { column, value in
        let y = SVG.number(vertical.position(value))
        return [0, 1].map { "\(SVG.number(horizontal.position(Double(column + $0)))) \(y)" }
      }
    }
    let outline = points(above) + points(below).reversed()
    guard !outline.isEmpty else { return "" }
    return "<path d=\"M\(outline.joined(separator: "L"))Z\" fill=\"\(color)\"/>"
  }

  private func legend(_ name: String, place: Int, color: String) -> [String] {
    let (x, y) = (width - 172, 76 + Double(place) * 22)
    return [
      """
      <rect x="\(SVG.number(x))" y="\(SVG.number(y - 10))" width="12" height="12" fill="\(color)"/>
      """,
      SVG.text(
        name.replacing("_", with: " "), x: x + 19, y: y, size: 12.5, color: Self.ink,
        anchor: "start"),
    ]
  }

  private func peak(
    _ totals: [Double], _ horizontal: ChartScale, _ vertical: ChartScale
  ) -> [String] {
    guard let most = totals.max(), let column = totals.firstIndex(of: most) else { return [] }
    let (x, y) = (horizontal.position(Double(column) + 0.5), vertical.position(most))
    let label = "\(NumberFormat.bytes(Int(most * Self.unit))) at \(peakName)"
    // Text that would leave the plot is turned to the other side.
    let isRight = x > (horizontal.start + horizontal.end) / 2
    return [
      SVG.line(x, y, x, y - 8, color: Self.ink),
      SVG.text(
        label, x: isRight ? x + 4 : x - 4, y: y - 12, size: 12.5, color: Self.ink,
        anchor: isRight ? "end" : "start", weight: 600),
    ]
  }
}
