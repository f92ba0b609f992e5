/// Elements of images as charts use them.
enum SVG {
  static func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, color: String, width: Double = 1,
    extra: String = ""
  ) -> String {
    let from = "x1=\"\(number(x1))\" y1=\"\(number(y1))\""
    let to = "x2=\"\(number(x2))\" y2=\"\(number(y2))\""
    return "<line \(from) \(to) stroke=\"\(color)\" stroke-width=\"\(number(width))\" \(extra)/>"
  }

  static func text(
    _ content: String, x: Double, y: Double, size: Double, color: String,
    anchor: String = "middle", weight: Int = 400, extra: String = ""
  ) -> String {
    let place = "x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\""
    let style = "font-size=\"\(number(size))\" font-weight=\"\(weight)\" fill=\"\(color)\""
    return "<text \(place) \(style) \(extra)>\(escaped(content))</text>"
  }

  /// A coordinate with one decimal, which no eye can tell from more.
  static func number(_ value: Double) -> String {
    let text = NumberFormat.fixed(value, digits: 1)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }

  /// Text that XML reads as itself; control characters, which XML forbids, become spaces.
  static func escaped(_ text: String) -> String {
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
