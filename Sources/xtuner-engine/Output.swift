import Foundation
import Torch
import XTunerCheckpoint
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// What commands say: results on standard output, everything else on standard error.
enum Output {
  /// Writes a result: what the command is for.
  ///
  /// Where it cannot be written the command has failed, and ends with ``RunExitCode/storage``.
  static func write(_ text: String, terminator: String = "\n") {
    guard let failure = StandardStream.output.write("\(text)\(terminator)") else { return }
    note("error: standard output cannot be written: \(String(cString: strerror(failure)))")
    exit(RunExitCode.storage.rawValue)
  }

  /// Tells how a run went whose results are files: where nobody can be told, it went no worse.
  static func tell(_ text: String) {
    guard let failure = StandardStream.output.write("\(text)\n") else { return }
    note(
      """
      standard output cannot be written (\(String(cString: strerror(failure)))): the summary is \
      lost, the run's files are whole
      """)
  }

  /// Writes one JSON object on one line.
  static func write(_ members: KeyValuePairs<String, JSONValue>) {
    write(JSONValue.members(members).text())
  }

  /// Writes a safetensors file, whole or not at all.
  ///
  /// - Throws: `CommandFailure` of storage: whatever goes wrong here is no model's fault.
  static func write(
    _ tensors: [(name: String, tensor: Tensor)], to path: String
  ) throws(CommandFailure) {
    do throws(CheckpointError) {
      try SafetensorsFile.write(tensors, to: path)
    } catch {
      throw CommandFailure(.storage, "--out \(error)")
    }
  }

  /// Writes a file, whole or not at all.
  ///
  /// - Throws: `CommandFailure` of storage.
  static func write(_ bytes: [UInt8], to path: String) throws(CommandFailure) {
    do throws(CheckpointError) {
      try OutputFile.write(bytes, to: path)
    } catch {
      throw CommandFailure(.storage, "--out \(error)")
    }
  }

  /// Writes a message for people, on a terminal without a break inside a word.
  static func note(_ text: String) {
    StandardStream.error.write("\(text.wrapped(for: .standardError))\n")
  }

  /// Asks for input.
  static func prompt(_ text: String) { StandardStream.error.write(text) }

  /// Writes pairs of a label and a value, the values below each other.
  static func write(rows: [(label: String, value: String)]) { write(lines(rows)) }

  /// Pairs of a label and a value, a line each or more where the terminal is narrow.
  static func lines(_ rows: [(label: String, value: String)]) -> String {
    let indentation = (rows.map(\.label.count).max() ?? 0) + 2
    let columns = tableWidth ?? .max
    return rows.map { row in
      let padding = String(repeating: " ", count: indentation - row.label.count)
      return "\(row.label)\(padding)\(row.value)"
        .wrapped(columns: columns, indentation: indentation)
    }.joined(separator: "\n")
  }

  /// Columns of the terminal that results go to; nil where they go to a file or another program.
  static var tableWidth: Int? {
    Terminal.standardOutput.isInteractive ? Terminal.standardOutput.columns : nil
  }

  /// Columns for a curve beside labels of `labelWidth` and `textWidth` of numbers.
  static func curveWidth(labelWidth: Int, textWidth: Int) -> Int {
    let columns = Terminal.standardOutput.columns
    return min(48, max(columns - labelWidth - textWidth - 5, 8))
  }
}

extension JSONValue {
  /// An object with its members in the order written.
  static func members(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
    .object(JSONObject(members.map { JSONObject.Entry(key: $0.key, value: $0.value) }))
  }

  /// A text, or null.
  static func optional(_ text: String?) -> JSONValue { text.map(JSONValue.string) ?? .null }

  /// A number with a few digits, or null where there is none or it is not finite.
  static func number(_ value: Double?, digits: Int = 6) -> JSONValue {
    guard let value, value.isFinite else { return .null }
    let text = String(format: "%.\(digits)g", value)
    return .double(Double(text) ?? value)
  }

  /// Integers.
  static func integers(_ values: some Sequence<some BinaryInteger>) -> JSONValue {
    .array(values.map { .integer(Int($0)) })
  }

  /// Texts.
  static func strings(_ values: some Sequence<String>) -> JSONValue {
    .array(values.map(JSONValue.string))
  }
}
