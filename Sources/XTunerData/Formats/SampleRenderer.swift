public import XTunerTokenizers

/// Prints samples for people, with the learned parts marked.
public struct SampleRenderer: Sendable {
  /// How learned text is marked.
  public enum Style: String, Sendable, Hashable, CaseIterable {
    /// Green for learned text, dim for the rest, on a terminal.
    case color
    /// Learned text between ⟦ and ⟧.
    case plain
  }

  /// How learned text is marked.
  public let style: Style

  /// Makes a renderer of one style.
  public init(style: Style) { self.style = style }

  /// Renders the training view of a conversation.
  public func render(_ segments: [ChatSegment]) -> String {
    segments.map { mark($0.text, isLearned: $0.carriesLoss) }.joined()
  }

  /// Renders tokens as their text; neighbours of the same kind are decoded together.
  ///
  /// - Parameters:
  ///   - tokens: The ids.
  ///   - lossMask: For each id whether it is learned; must have as many elements as `tokens`.
  ///   - decode: Turns ids into text, special tokens included.
  /// - Returns: The text with its marks.
  public func render(
    tokens: [Int32], lossMask: [Bool], decode: ([Int32]) throws -> String
  ) rethrows -> String {
    precondition(
      tokens.count == lossMask.count,
      "lossMask: must have one element per token (\(tokens.count)), has \(lossMask.count)")
    var text = ""
    var start = 0
    while start < tokens.count {
      let isLearned = lossMask[start]
      let end = lossMask[start...].firstIndex { $0 != isLearned } ?? tokens.count
      text += mark(try decode(Array(tokens[start..<end])), isLearned: isLearned)
      start = end
    }
    return text
  }

  private func mark(_ text: String, isLearned: Bool) -> String {
    let text = printable(text)
    switch style {
    case .plain: return isLearned ? "⟦\(text)⟧" : text
    case .color:
      let code = isLearned ? "\u{1B}[32m" : "\u{1B}[2m"
      let reset = "\u{1B}[0m"
      // A colour that crosses a line break gets lost in pagers.
      return text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
        .map { $0.isEmpty ? "" : "\(code)\(String($0))\(reset)" }.joined(separator: "\n")
    }
  }

  /// Replaces control characters by their pictures, so that data cannot steer the terminal.
  private func printable(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x0A, 0x09: result.append(scalar)
      case 0..<0x20: result.append(Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}")
      case 0x7F: result.append("\u{2421}")
      case 0x80..<0xA0: result.append("\u{FFFD}")
      default: result.append(scalar)
      }
    }
    return String(result)
  }
}
