/// Rows of text in columns: the first flush left, the others flush right.
struct TextTable {
  var header: [String]
  var rows: [[String]] = []

  /// The table's lines; a rule of dashes under the header.
  ///
  /// Columns that have no room in `width` follow below, with the first column again.
  func lines(width: Int = .max) -> [String] {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    var parts: [[Int]] = [[0]]
    var used = widths[0]
    for column in header.indices.dropFirst() {
      let needed = widths[column] + 2
      if used + needed > width, parts[parts.count - 1].count > 1 {
        parts.append([0])
        used = widths[0]
      }
      parts[parts.count - 1].append(column)
      used += needed
    }
    let tables = parts.map { columns in lines(columns: columns, widths) }
    return Array(tables.joined(separator: [""]))
  }

  private func lines(columns: [Int], _ widths: [Int]) -> [String] {
    func line(_ cells: [String]) -> String {
      var text = ""
      for column in columns {
        let cell = cells[column]
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        text += column == 0 ? cell + padding : "  " + padding + cell
      }
      while text.hasSuffix(" ") { text.removeLast() }
      return text
    }
    let rule = columns.map { String(repeating: "-", count: widths[$0]) }.joined(separator: "  ")
    return [line(header), rule] + rows.map(line)
  }

  /// A count with a comma between thousands.
  static func grouped(_ value: Int) -> String {
    var digits = Array(String(value.magnitude))
    for position in stride(from: digits.count - 3, to: 0, by: -3) {
      digits.insert(",", at: position)
    }
    return (value < 0 ? "-" : "") + String(digits)
  }

  /// A number with a fixed count of digits behind the point.
  static func fixed(_ value: Double, digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value.magnitude * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + grouped(scaled) }
    let fraction = String(scaled % scale)
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(sign)\(grouped(scaled / scale)).\(zeros)\(fraction)"
  }

  /// A share as a percentage with two digits.
  static func percent(_ share: Double) -> String {
    "\(fixed(share * 100, digits: 2)) %"
  }
}
