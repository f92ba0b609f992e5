extension String {
  /// The text with lines that a terminal does not have to break, which it would do inside words.
  ///
  /// - Parameters:
  ///   - columns: The terminal's width. A word that is longer stays whole, and so do the spaces at the
  ///     start of a line.
  ///   - indentation: Spaces at the start of each line that is added.
  /// - Returns: The text, with spaces replaced by line breaks.
  package func wrapped(columns: Int, indentation: Int = 0) -> String {
    split(separator: "\n", omittingEmptySubsequences: false)
      .map { Self.wrapped($0, columns: columns, indentation: indentation) }
      .joined(separator: "\n")
  }

  private static func wrapped(
    _ line: Substring, columns: Int, indentation: Int
  ) -> String {
    guard line.count > columns else { return String(line) }
    // Where the next line would have no room for words, it begins at the left.
    let margin = String(repeating: " ", count: 2 * indentation < columns ? indentation : 0)
    var lines: [String] = []
    var current = String(line.prefix { $0 == " " })
    var length = current.count
    var gap = ""
    var isEmpty = true
    for word in words(of: line.dropFirst(length)) {
      if word.first == " " {
        gap = String(word)
        continue
      }
      if !isEmpty, length + gap.count + word.count > columns {
        lines.append(current)
        (current, length, gap) = (margin, margin.count, "")
      }
      current += gap + word
      length += gap.count + word.count
      gap = ""
      isEmpty = false
    }
    return (lines + [current]).joined(separator: "\n")
  }

  /// Words and the spaces between them, in turn.
  private static func words(of text: Substring) -> [Substring] {
    var words: [Substring] = []
    var rest = text
    while let first = rest.first {
      let part = rest.prefix { ($0 == " ") == (first == " ") }
      words.append(part)
      rest = rest[part.endIndex...]
    }
    return words
  }
}
