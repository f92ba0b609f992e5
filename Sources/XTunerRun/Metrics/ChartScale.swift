import Foundation

/// Maps values of a range to positions on a chart, with ticks at round values.
struct ChartScale: Equatable {
  /// Ends of the range; the upper one is above the lower one.
  let low: Double
  let high: Double
  /// Positions of the two ends.
  let start: Double
  let end: Double

  /// Creates a scale; a range without extent is widened around its value.
  init(low: Double, high: Double, start: Double, end: Double) {
    let isFlat = !(high > low)
    let margin = max(abs(low) * 0.05, 1e-3)
    self.low = isFlat ? low - margin : low
    self.high = isFlat ? low + margin : high
    self.start = start
    self.end = end
  }

  /// Position of a value, also outside the range.
  func position(_ value: Double) -> Double {
    start + (value - low) / (high - low) * (end - start)
  }

  /// Distance between ticks: 1, 2 or 5 times a power of ten, such that about `count` fit.
  func tickStep(count: Int) -> Double {
    let rough = (high - low) / Double(max(count, 1))
    let power = pow(10, floor(log10(rough)))
    let factor = [1.0, 2, 5].first { rough <= $0 * power } ?? 10
    return factor * power
  }

  /// Round values within the range.
  ///
  /// - Parameters:
  ///   - count: Ticks that fit, about.
  ///   - minimumStep: Smallest distance; 1 where values are counts.
  /// - Returns: Values in ascending order, a hundred at most.
  func ticks(count: Int, minimumStep: Double = 0) -> [Double] {
    let step = max(tickStep(count: count), minimumStep)
    let first = (low / step - 1e-9).rounded(.up)
    let last = (high / step + 1e-9).rounded(.down)
    guard last >= first else { return [] }
    return (0...Int(min(last - first, 100))).map { (first + Double($0)) * step }
  }

  /// A tick's label with as many decimals as the distance between ticks needs.
  static func label(_ value: Double, step: Double) -> String {
    let digits = max(0, Int((-log10(step) - 1e-9).rounded(.up)))
    guard digits <= 6, abs(value) < 1e6 else { return NumberFormat.scientific(value) }
    let text = NumberFormat.fixed(value, digits: digits)
    // -0.0 comes out of a range that crosses zero.
    return value == 0 && text.hasPrefix("-") ? String(text.dropFirst()) : text
  }
}

/// Curves prepared for drawing.
enum ChartCurve {
  typealias Point = MetricsHistory.Point

  /// A running mean without delay.
  ///
  /// It takes `reach` points to both sides, fewer near the start, where a curve is steep, and what
  /// is there at the end. Values that are not finite are left out.
  static func smoothed(_ points: [Point], reach: Int) -> [Point] {
    // Sums of everything before a point, so that a mean takes two look-ups.
    var sums = [0.0]
    var counts = [0]
    for (index, point) in points.enumerated() {
      sums.append(sums[index] + (point.loss.isFinite ? point.loss : 0))
      counts.append(counts[index] + (point.loss.isFinite ? 1 : 0))
    }
    return points.enumerated().map { index, point in
      let side = min(reach, index)
      let (first, end) = (index - side, min(index + side + 1, points.count))
      guard point.loss.isFinite else { return Point(step: point.step, loss: .nan) }
      let count = Double(counts[end] - counts[first])
      return Point(step: point.step, loss: (sums[end] - sums[first]) / count)
    }
  }

  /// At most about `count` points that keep every peak: the lowest and highest of each group.
  static func thinned(_ points: [Point], to count: Int) -> [Point] {
    guard points.count > count else { return points }
    let groups = count / 2
    return (0..<groups).flatMap { group -> [Point] in
      let part = points[
        (group * points.count / groups)..<((group + 1) * points.count / groups)]
      let finite = part.filter(\.loss.isFinite)
      guard let low = finite.min(by: { $0.loss < $1.loss }),
        let high = finite.max(by: { $0.loss < $1.loss })
      else { return part.prefix(1).map { $0 } }
      if low.step == high.step { return [low] }
      return low.step < high.step ? [low, high] : [high, low]
    }
  }

  /// The range to show: everything, unless a few values lie far above the rest.
  static func range(_ losses: [Double]) -> (low: Double, high: Double) {
    let sorted = losses.filter(\.isFinite).sorted()
    guard let low = sorted.first, let highest = sorted.last else { return (0, 1) }
    let typical = sorted[(sorted.count - 1) * 99 / 100]
    let limit = low + (typical - low) * 4
    return (low, highest > limit && typical > low ? limit : highest)
  }
}
