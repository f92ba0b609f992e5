extension ValueType where Value == String {
  /// A day of the calendar as `YYYY-MM-DD`; it needs no quotes.
  static var date: Self {
    let expected = "a date as YYYY-MM-DD"
    return .init(
      name: "date as YYYY-MM-DD",
      schema: [
        .init("type", .text("string")), .init("pattern", .text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")),
      ],
      decode: { node throws(Rejection) in
        guard case .scalar(let text, _) = node.content, isDate(text) else {
          throw Rejection(expected: expected, node: node)
        }
        return text
      },
      encode: { .text($0) })
  }

  private static func isDate(_ text: String) -> Bool {
    let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard parts.map(\.count) == [4, 2, 2] else { return false }
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard parts.allSatisfy({ $0.allSatisfy { digits.contains($0) } }) else { return false }
    let numbers = parts.map { $0.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) } }
    let (year, month, day) = (numbers[0], numbers[1], numbers[2])
    let isLeapYear = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let lengths = [31, isLeapYear ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return year > 0 && (1...12).contains(month) && (1...lengths[month - 1]).contains(day)
  }
}
