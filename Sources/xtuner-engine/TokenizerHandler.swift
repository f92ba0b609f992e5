import Foundation
import XTunerCommands
import XTunerRun
import XTunerSystem
import XTunerInput
import XTunerTokenizers
import XTunerTrainer

/// `xtuner tokenizer encode`, `decode` and `info`.
enum TokenizerHandler {
  static func encode(_ command: TokenizerEncodeCommand) throws {
    let tokenizer = try Tokenizer(
      path: try ModelLocation.ofProcess.path(of: command.tokenizer.path))
    if let text = command.text {
      let ids = try tokenizer.encode(text)
      guard command.json else {
        return Output.write(ids.map(String.init).joined(separator: " "))
      }
      return Output.write(["ids": .integers(ids)])
    }
    guard let input = command.input, let out = command.out else {
      throw CommandFailure(.usage, "--input and --out are needed without --text")
    }
    guard FileManager.default.isReadableFile(atPath: input) else {
      throw CommandFailure(.data, "--input \(input): cannot be read; give a text file")
    }
    try OutputName.checkFile("--out", out, inputs: [input, command.tokenizer.path])
    let threads = command.threads ?? ProcessorCount.available()
    let (text, summary) = try TokenizerCommands.encodedLines(
      tokenizer: tokenizer, input: input, threads: threads)
    try Output.write(text, to: out)
    let rate = Double(summary.byteCount) / max(summary.seconds, 1e-9)
    if command.json {
      Output.write([
        "lines": .integer(summary.lineCount), "bytes": .integer(summary.byteCount),
        "tokens": .integer(summary.tokenCount), "threads": .integer(threads),
        "seconds": .number(summary.seconds), "bytes_per_second": .number(rate),
      ])
    } else {
      Output.write(
        """
        \(out): \(summary.lineCount) lines, \(summary.tokenCount) tokens, \
        \(NumberFormat.si(rate))B/s on \(threads) threads
        """)
    }
  }

  static func decode(_ command: TokenizerDecodeCommand) throws {
    let tokenizer = try Tokenizer(
      path: try ModelLocation.ofProcess.path(of: command.tokenizer.path))
    if let out = command.out {
      try OutputName.checkFile(
        "--out", out, inputs: [command.tokenizer.path] + (command.input.map { [$0] } ?? []))
    }
    let lists = try command.input.map(readLists) ?? [command.ids]
    let count = Int32(tokenizer.vocabularySize)
    if let id = lists.joined().first(where: { $0 < 0 || $0 >= count }) {
      throw CommandFailure(
        .data, "\(command.tokenizer.path): ids must be from 0 to \(count - 1), one is \(id)")
    }
    let texts = try lists.map { ids in
      let text = try tokenizer.decode(ids, skipSpecialTokens: command.skipSpecialTokens)
      return command.json ? JSONValue.string(text).text() : text
    }
    let text = texts.map { "\($0)\n" }.joined()
    guard let out = command.out else { return Output.write(text, terminator: "") }
    try Output.write(Array(text.utf8), to: out)
  }

  static func info(_ command: TokenizerInfoCommand) throws {
    let tokenizer = try Tokenizer(path: try ModelLocation.ofProcess.path(of: command.tokenizer))
    let special = (0..<Int32(tokenizer.vocabularySize)).filter(tokenizer.isSpecial)
    if command.result.isJSON {
      let tokens = special.map { id in
        JSONValue.members(["id": .integer(Int(id)), "token": .optional(tokenizer.token(of: id))])
      }
      return Output.write([
        "vocabulary_size": .integer(tokenizer.vocabularySize),
        "sha256": .string(tokenizer.contentHash), "special_tokens": .array(tokens),
      ])
    }
    let tokens = special.map { "\($0) \(ReadableText.line(tokenizer.token(of: $0) ?? ""))" }
    Output.write(rows: [
      ("vocabulary", "\(tokenizer.vocabularySize) ids"), ("sha256", tokenizer.contentHash),
      ("special", tokens.isEmpty ? "none" : tokens.joined(separator: ", ")),
    ])
  }

  private static func readLists(_ file: String) throws -> [[Int32]] {
    guard let data = FileManager.default.contents(atPath: file) else {
      throw CommandFailure(.data, "\(file): cannot be read; give a file with one JSON list a line")
    }
    // By bytes: in a String "\r\n" is one character, and no line break.
    let lines = data.split(separator: UInt8(ascii: "\n")).map {
      String(decoding: $0, as: UTF8.self)
    }
    return try lines.enumerated().map { index, line in
      do {
        let list = try JSONValue(parsing: line).arrayValue
        let ids = list?.compactMap { $0.integerValue.flatMap(Int32.init(exactly:)) }
        guard let ids, ids.count == list?.count else {
          throw CommandFailure(
            .data, "\(file):\(index + 1): must be a JSON list of ids such as [1, 2], is \(line)")
        }
        return ids
      } catch let error as JSONError {
        throw CommandFailure(.data, "\(file):\(index + 1): \(error.message)")
      }
    }
  }
}
