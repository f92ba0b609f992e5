import Foundation
import XTunerSystem

/// What the program knows about the terminal behind a stream.
public struct Terminal: Sendable {
  private let descriptor: Int32
  private let environment: [String: String]

  /// The terminal behind standard error, where progress goes.
  public static var standardError: Terminal {
    .init(descriptor: STDERR_FILENO, environment: ProcessInfo.processInfo.environment)
  }

  /// The terminal behind standard output, where results go.
  public static var standardOutput: Terminal {
    .init(descriptor: STDOUT_FILENO, environment: ProcessInfo.processInfo.environment)
  }

  /// Describes a stream.
  init(descriptor: Int32, environment: [String: String]) {
    self.descriptor = descriptor
    self.environment = environment
  }

  /// True when a person looks at the stream and lines can be drawn again.
  public var isInteractive: Bool {
    isatty(descriptor) == 1 && environment["TERM"] != "dumb"
  }

  /// True when escape codes may colour the text; `NO_COLOR` turns colours off.
  public var hasColor: Bool {
    isInteractive && (environment["NO_COLOR"] ?? "").isEmpty
  }

  /// Columns of the terminal; 80 when there is none.
  public var columns: Int {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  /// Writes a text; a stream that is gone is not worth stopping a run for.
  public func write(_ text: String) {
    _ = WholeWrite.write(Array(text.utf8), to: descriptor)
  }
}

extension String {
  /// The text as a terminal gets it, without a break inside a word; unchanged for what is no terminal.
  package func wrapped(for terminal: Terminal) -> String {
    terminal.isInteractive ? wrapped(columns: terminal.columns) : self
  }
}

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
