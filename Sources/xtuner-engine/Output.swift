import Foundation
import Torch
import XTunerCheckpoint
import XTunerTokenizers
import XTunerTrainer

/// What commands say: results on standard output, everything else on standard error.
enum Output {
  /// Writes a result.
  static func write(_ text: String, terminator: String = "\n") {
    FileHandle.standardOutput.write(Data("\(text)\(terminator)".utf8))
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

  /// Writes a message for people.
  static func note(_ text: String) {
    FileHandle.standardError.write(Data("\(text)\n".utf8))
  }

  /// Writes pairs of a label and a value, the values below each other.
  static func write(rows: [(label: String, value: String)]) {
    let width = rows.map(\.label.count).max() ?? 0
    for row in rows {
      let padding = String(repeating: " ", count: width - row.label.count + 2)
      write("\(row.label)\(padding)\(row.value)")
    }
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
