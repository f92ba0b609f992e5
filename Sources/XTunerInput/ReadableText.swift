/// Texts fit to be shown: names and values out of files may hold anything, and be of any length.
package enum ReadableText {
  /// The longest line and the most lines of a message; nobody reads more, and logs stay usable.
  package static let lineLimit = 2000
  package static let lineCountLimit = 200

  /// A message of several lines, of which none can change the terminal, nor fill it.
  ///
  /// Control characters but line breaks and tabs become `\u{1B}`, as do those that reorder a line.
  /// Long lines lose their middle, long messages their end, and say so.
  package static func message(_ text: String) -> String {
    var lines: [String] = []
    var rest = text[...].utf8
    while lines.count < lineCountLimit {
      let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
      lines.append(line(String(Substring(rest[..<end]))))
      guard end < rest.endIndex else { return lines.joined(separator: "\n") }
      rest = rest[rest.index(after: end)...]
    }
    let count = 1 + rest.count { $0 == UInt8(ascii: "\n") }
    return lines.joined(separator: "\n") + "\n... and \(count) more lines"
  }

  /// One line of at most ``lineLimit`` characters or so.
  package static func line(_ text: String, limit: Int = lineLimit) -> String {
    let isShort = text.utf8.count <= limit
    guard !isShort || text.unicodeScalars.contains(where: isUnsafe) else { return text }
    let scalars = text.unicodeScalars
    guard !isShort, scalars.count > limit else { return escaped(scalars) }
    let (head, tail) = (limit * 2 / 3, limit / 4)
    let left = scalars.count - head - tail
    return escaped(scalars.prefix(head)) + " ...(\(left) characters)... "
      + escaped(scalars.suffix(tail))
  }

  private static func escaped(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var result = String.UnicodeScalarView()
    for scalar in scalars {
      if isUnsafe(scalar) {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        result.append(contentsOf: "\\u{\(digits)}".unicodeScalars)
      } else {
        result.append(scalar)
      }
    }
    return String(result)
  }

  private static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09: false
    case 0..<0x20, 0x7F...0x9F: true
    // Line and paragraph separators; marks that reorder or hide what follows.
    case 0x2028...0x202E, 0x2066...0x2069, 0x200E, 0x200F, 0xFEFF: true
    default: false
    }
  }
}
