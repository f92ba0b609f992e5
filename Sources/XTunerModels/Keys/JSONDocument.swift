import XTunerText

/// A JSON value that keeps what Foundation loses: the order of keys and the digits of numbers.
///
/// Checkpoint metadata is read with it because a 64-bit offset must not pass through a double, a
/// repeated key must be an error, and keys of a `config.json` that the engine does not know must
/// come out of an export as they went in.
public enum JSONDocument: Sendable, Hashable {
  case null
  case boolean(Bool)
  /// A number as written, such as `1e-06`; it satisfies the JSON grammar.
  case number(String)
  case string(String)
  case array([JSONDocument])
  case object(JSONObject)

  /// A whole number.
  public static func integer(_ value: Int) -> JSONDocument { .number(String(value)) }

  /// A finite number, written with the fewest digits that read back to the same value.
  ///
  /// Whole values below 2^53 are written without a fraction, as the published files do.
  public static func real(_ value: Double) -> JSONDocument {
    precondition(value.isFinite, "JSON has no spelling for \(value)")
    if value == value.rounded(), abs(value) < 9_007_199_254_740_992 {
      return .number(String(Int(value)))
    }
    return .number("\(value)")
  }

  /// The members, or nil where this is not an object.
  public var object: JSONObject? {
    if case .object(let members) = self { members } else { nil }
  }

  /// The elements, or nil where this is not an array.
  public var array: [JSONDocument]? {
    if case .array(let elements) = self { elements } else { nil }
  }

  /// The text, or nil where this is not a string.
  public var string: String? {
    if case .string(let text) = self { text } else { nil }
  }

  /// The truth value, or nil where this is not `true` or `false`.
  public var boolean: Bool? {
    if case .boolean(let value) = self { value } else { nil }
  }

  /// The exact whole number, or nil where this is not one that fits (`1.0` is, `1.5` is not).
  public var integer: Int? {
    guard case .number(let digits) = self else { return nil }
    if let value = Int(digits) { return value }
    guard digits.contains(where: { $0 == "." || $0 == "e" || $0 == "E" }) else { return nil }
    return Double(digits).flatMap { Int(exactly: $0) }
  }

  /// The nearest double, or nil where this is not a number or overflows.
  public var real: Double? {
    guard case .number(let digits) = self, let value = Double(digits), value.isFinite else {
      return nil
    }
    return value
  }

  /// Whether this is `null`.
  public var isNull: Bool { self == .null }

  /// What kind of value this is, for messages: `a number`, `an object`.
  public var kind: String {
    switch self {
    case .null: "null"
    case .boolean: "a boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// The members of a JSON object, in the order of the text.
public struct JSONObject: Sendable, Hashable {
  /// The keys, first to last; each occurs once.
  public private(set) var keys: [String] = []
  private var values: [ExactText: JSONDocument] = [:]

  /// An object without members.
  public init() {}

  /// The value under a key; setting nil removes the member, setting a new key appends it.
  public subscript(key: String) -> JSONDocument? {
    get { values[key] }
    set {
      if let newValue {
        if values.updateValue(newValue, forKey: key) == nil { keys.append(key) }
      } else if values.removeValue(forKey: ExactText(key)) != nil {
        keys.removeAll { $0.isExactly(key) }
      }
    }
  }

  /// How many members there are.
  public var count: Int { keys.count }
}
