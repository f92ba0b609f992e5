internal import XTunerText

/// A JSON value that keeps what chat templates depend on: key order and exact integers.
///
/// Foundation's decoders lose the order of keys, and with it the text that a tool declaration is
/// rendered to. Two objects are equal when they hold the same keys and values in the same order.
public enum JSONValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case integer(Int)
  /// An integer outside the range of `Int`, as its decimal digits.
  case bigInteger(String)
  case double(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)
}

extension JSONValue {
  /// Whether both are the same value; texts are compared by their bytes.
  public static func == (left: JSONValue, right: JSONValue) -> Bool {
    switch (left, right) {
    case (.null, .null): true
    case (.bool(let left), .bool(let right)): left == right
    case (.integer(let left), .integer(let right)): left == right
    case (.bigInteger(let left), .bigInteger(let right)): left.isExactly(right)
    case (.double(let left), .double(let right)): left == right
    case (.string(let left), .string(let right)): left.isExactly(right)
    case (.array(let left), .array(let right)): left == right
    case (.object(let left), .object(let right)): left == right
    default: false
    }
  }

  /// Feeds the value to a hasher, texts by their bytes.
  public func hash(into hasher: inout Hasher) {
    switch self {
    case .null: hasher.combine(0)
    case .bool(let value): hasher.combine(value)
    case .integer(let value): hasher.combine(value)
    case .bigInteger(let text), .string(let text): hasher.combine(ExactText(text))
    case .double(let value): hasher.combine(value)
    case .array(let values): hasher.combine(values)
    case .object(let object): hasher.combine(object)
    }
  }

  /// The string, or nil when this value is not a string.
  public var stringValue: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The boolean, or nil when this value is not `true` or `false`.
  public var boolValue: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The integer, or nil when this value is no integer that fits in `Int`.
  public var integerValue: Int? {
    if case .integer(let value) = self { value } else { nil }
  }

  /// The elements, or nil when this value is not an array.
  public var arrayValue: [JSONValue]? {
    if case .array(let value) = self { value } else { nil }
  }

  /// The object, or nil when this value is not an object.
  public var objectValue: JSONObject? {
    if case .object(let value) = self { value } else { nil }
  }

  /// Whether this value is `null`.
  public var isNull: Bool { self == .null }

  /// The value of a key, or nil when this value is not an object or lacks the key.
  public subscript(key: String) -> JSONValue? { objectValue?[key] }

  /// What kind of value this is, in the words of an error message: `a string`, `an object`.
  public var kindDescription: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer, .bigInteger: "an integer"
    case .double: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// The members of a JSON object, in the order of the text they were read from.
public struct JSONObject: Sendable, Hashable {
  /// One key with its value.
  public struct Entry: Sendable, Hashable {
    /// The key, unescaped.
    public var key: String
    /// The value of the key.
    public var value: JSONValue

    /// Pairs a key with its value.
    public init(key: String, value: JSONValue) {
      self.key = key
      self.value = value
    }

    /// Whether keys are the same bytes and values the same.
    public static func == (left: Entry, right: Entry) -> Bool {
      left.key.isExactly(right.key) && left.value == right.value
    }

    /// Feeds key and value to a hasher.
    public func hash(into hasher: inout Hasher) {
      hasher.combine(ExactText(key))
      hasher.combine(value)
    }
  }

  /// The members in order; no key comes twice.
  public private(set) var entries: [Entry]

  /// Collects entries in order; for a key that comes twice the first place and the last value stay.
  public init(_ entries: [Entry] = []) {
    self.entries = []
    self.entries.reserveCapacity(entries.count)
    for entry in entries { self[entry.key] = entry.value }
  }

  /// Takes entries whose keys the parser has already found to be distinct.
  init(uniqueEntries: [Entry]) {
    entries = uniqueEntries
  }

  /// The keys in order.
  public var keys: [String] { entries.map(\.key) }

  /// How many members there are.
  public var count: Int { entries.count }

  /// Whether there are no members.
  public var isEmpty: Bool { entries.isEmpty }

  /// The value of a key, found by a linear search; setting nil removes the key.
  public subscript(key: String) -> JSONValue? {
    get { entries.first { $0.key.isExactly(key) }?.value }
    set {
      let index = entries.firstIndex { $0.key.isExactly(key) }
      switch (index, newValue) {
      case (let index?, let value?): entries[index].value = value
      case (nil, let value?): entries.append(Entry(key: key, value: value))
      case (let index?, nil): entries.remove(at: index)
      case (nil, nil): break
      }
    }
  }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
  /// Builds an object from a literal, in the order written.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self.init(elements.map { Entry(key: $0.0, value: $0.1) })
  }
}

// Not by `nil`: where a `JSONValue?` is expected, it would make `null` out of an absent value.
extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
  ExpressibleByDictionaryLiteral
{
  /// Wraps a string literal.
  public init(stringLiteral value: String) { self = .string(value) }
  /// Wraps an integer literal.
  public init(integerLiteral value: Int) { self = .integer(value) }
  /// Wraps a floating-point literal.
  public init(floatLiteral value: Double) { self = .double(value) }
  /// Wraps a boolean literal.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// Wraps an array literal.
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  /// Wraps a dictionary literal, in the order written.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(JSONObject(elements.map { .init(key: $0.0, value: $0.1) }))
  }
}
