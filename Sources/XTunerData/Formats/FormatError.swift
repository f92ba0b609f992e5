import XTunerTokenizers

/// Why a record does not fit its format; the reader adds file and line.
struct FormatError: Error, Sendable {
  /// The place inside of the record and what is wrong there.
  let message: String

  init(_ message: String) { self.message = message }
}

/// A JSON object together with its place in the record, which error messages name.
struct JSONCursor {
  let object: JSONObject
  /// Such as `messages[3]`; empty for the record itself.
  let path: String

  init(_ value: JSONValue, path: String) throws(FormatError) {
    guard let object = value.objectValue else {
      throw FormatError(
        "\(path.isEmpty ? "the record" : path) must be an object, is "
          + value.kindDescription)
    }
    self.object = object
    self.path = path
  }

  /// The path of a key, such as `messages[3].content`.
  func place(_ key: String) -> String { path.isEmpty ? "`\(key)`" : "`\(path).\(key)`" }

  /// The value of a key, nil when it is absent or null.
  func value(_ key: String) -> JSONValue? {
    object[key].flatMap { $0.isNull ? nil : $0 }
  }

  func string(_ key: String) throws(FormatError) -> String? {
    guard let value = value(key) else { return nil }
    guard let string = value.stringValue else { throw mismatch(key, "a string", value) }
    return string
  }

  func requiredString(_ key: String) throws(FormatError) -> String {
    guard let string = try string(key) else { throw missing(key, "a string") }
    return string
  }

  func array(_ key: String) throws(FormatError) -> [JSONValue]? {
    guard let value = value(key) else { return nil }
    guard let array = value.arrayValue else { throw mismatch(key, "an array", value) }
    return array
  }

  func bool(_ key: String) throws(FormatError) -> Bool? {
    guard let value = value(key) else { return nil }
    guard let bool = value.boolValue else { throw mismatch(key, "true or false", value) }
    return bool
  }

  /// Whether the object asks to be learned: `loss: true`, or `weight: 1` as in OpenAI's fine-tuning
  /// files; nil leaves it to the template.
  func isLearned() throws(FormatError) -> Bool? {
    let loss = try bool("loss")
    guard let weight = value("weight") else { return loss }
    let isLearned: Bool
    switch weight {
    case .integer(0), .double(0): isLearned = false
    case .integer(1), .double(1): isLearned = true
    default:
      throw FormatError(
        "\(place("weight")) must be 0 or 1, is \(weight); for a data source that counts more than "
          + "another set `weight` of the source")
    }
    if let loss, loss != isLearned {
      throw FormatError("\(place("loss")) and \(place("weight")) differ; keep one")
    }
    return isLearned
  }

  func mismatch(_ key: String, _ wanted: String, _ value: JSONValue) -> FormatError {
    FormatError("\(place(key)) must be \(wanted), is \(value.kindDescription)")
  }

  func missing(_ key: String, _ wanted: String) -> FormatError {
    let keys = object.keys.prefix(8).joined(separator: ", ")
    let seen = object[key] == nil ? "is missing; keys here: \(keys)" : "is null"
    return FormatError("\(place(key)) must be \(wanted), \(seen)")
  }

  /// Refuses records that carry images, sound or video beside their text.
  func refuseMedia() throws(FormatError) {
    for key in RecordKeys.media {
      guard let value = value(key), value != .array([]), value != .string("") else { continue }
      throw FormatError("\(place(key)): only text can be trained here; remove the media or record")
    }
  }
}
