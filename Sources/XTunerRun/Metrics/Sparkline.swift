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
