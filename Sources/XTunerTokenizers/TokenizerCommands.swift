internal import Foundation

/// The work of the command line's `tokenizer` commands.
public enum TokenizerCommands {
  /// What `encodedLines` did.
  public struct Summary: Sendable, Equatable {
    /// Lines of the input; a final line break does not begin another.
    public var lineCount: Int
    /// Bytes of the input without its line breaks.
    public var byteCount: Int
    /// Ids of all lines.
    public var tokenCount: Int
    /// Seconds spent encoding, without reading and writing files.
    public var seconds: Double

    /// The four numbers as one line of JSON: `lines`, `bytes`, `tokens`, `seconds`.
    public var json: String {
      "{\"lines\": \(lineCount), \"bytes\": \(byteCount), \"tokens\": \(tokenCount), "
        + "\"seconds\": \(seconds)}"
    }
  }

  /// Encodes every line of `input` (cut at `\n`, bytes as they are) to a line with a JSON list.
  ///
  /// Ill-formed UTF-8 counts as U+FFFD. No special tokens are added; those in the text are found.
  public static func encodedLines(
    tokenizer: Tokenizer, input: String, threads: Int
  ) throws(TokenizerError) -> (text: [UInt8], summary: Summary) {
    guard threads > 0 else {
      throw TokenizerError(.invalidArgument, key: "threads", "must be at least 1, is \(threads)")
    }
    let bytes = try TokenizerFiles.read(input)
    var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    let parts = lines
    let start = ContinuousClock.now
    let ids = try tokenizer.encodeBatch(count: parts.count, threads: threads) {
      tokenizer.result(utf8: parts[$0])
    }
    let elapsed = ContinuousClock.now - start
    var text: [UInt8] = []
    for line in ids {
      text.append(UInt8(ascii: "["))
      for (index, id) in line.enumerated() {
        if index > 0 { text.append(UInt8(ascii: ",")) }
        text.append(contentsOf: String(id).utf8)
      }
      text.append(contentsOf: "]\n".utf8)
    }
    let summary = Summary(
      lineCount: lines.count, byteCount: lines.reduce(0) { $0 + $1.count },
      tokenCount: ids.reduce(0) { $0 + $1.count }, seconds: elapsed / .seconds(1))
    return (text, summary)
  }
}
