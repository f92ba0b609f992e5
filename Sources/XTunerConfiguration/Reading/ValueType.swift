import Foundation
import XTunerInput

/// Why a value was rejected; the key path and the place are added by whoever decodes.
struct Rejection: Error {
  let reason: String

  /// `must be EXPECTED, is VALUE`, with a hint in brackets where there is one.
  init(expected: String, node: ConfigurationNode, hint: String? = nil) {
    let hint = hint.map { " (\($0))" } ?? ""
    reason = "must be \(expected), is \(node.summary)\(hint)"
  }
}

/// How one kind of setting is read, written and described.
struct ValueType<Value: Sendable>: Sendable {
  /// The type as the documentation names it: `whole number of at least 1`.
  let name: String
  /// The members of the JSON schema that describe it.
  let schema: [ConfigurationValue.Entry]
  /// A sentence with the largest number that is taken, and why; nil for what is no number.
  var bound: String?
  let decode: @Sendable (ConfigurationNode) throws(Rejection) -> Value
  let encode: @Sendable (Value) -> ConfigurationValue
}

/// The numbers a setting accepts.
struct NumberRange: Sendable {
  let description: String
  let schema: [ConfigurationValue.Entry]
  let contains: @Sendable (Double) -> Bool

  static let positive = NumberRange(
    description: "above 0", schema: [.init("exclusiveMinimum", .integer(0))]
  ) { $0 > 0 }
  static let nonNegative = NumberRange(
    description: "of at least 0", schema: [.init("minimum", .integer(0))]
  ) { $0 >= 0 }
  static let share = NumberRange(
    description: "from 0 to 1",
    schema: [.init("minimum", .integer(0)), .init("maximum", .integer(1))]
  ) { (0...1).contains($0) }
  static let openShare = NumberRange(
    description: "above 0 and below 1",
    schema: [.init("exclusiveMinimum", .integer(0)), .init("exclusiveMaximum", .integer(1))]
  ) { $0 > 0 && $0 < 1 }
}

extension ValueType where Value == Int {
  /// A whole number of at least `minimum` and at most `bound`.
  static func integer(from minimum: Int, _ bound: UpperBound<Int>) -> Self {
    let expected = "a whole number of at least \(minimum)"
    return .init(
      name: "whole number from \(minimum) to \(bound.value)",
      schema: [
        .init("type", .text("integer")), .init("minimum", .integer(minimum)),
        .init("maximum", .integer(bound.value)),
      ],
      bound: "At most \(bound.value): \(bound.reason).",
      decode: { node throws(Rejection) in
        let text = try plainText(node, expected: expected)
        let value = ScalarSyntax.integer(text)
        let isBeyond64Bits = value == nil && ScalarSyntax.isInteger(text) && !text.hasPrefix("-")
        if isBeyond64Bits || value ?? 0 > bound.value {
          throw Rejection(expected: "at most \(bound.value) (\(bound.reason))", node: node)
        }
        guard let value else {
          throw Rejection(expected: expected, node: node, hint: integerHint(text))
        }
        guard value >= minimum else { throw Rejection(expected: expected, node: node) }
        return value
      },
      encode: { .integer($0) })
  }

  private static func integerHint(_ text: String) -> String? {
    let digits = text.drop { $0 == "0" }
    if digits.count < text.count, let value = ScalarSyntax.integer(String(digits)) {
      return "write it without leading zeros: \(value)"
    }
    guard let number = ScalarSyntax.number(text), let whole = Int(exactly: number) else {
      return nil
    }
    return "write it in digits: \(whole)"
  }
}

extension ValueType where Value == Double {
  /// A number within a range that has an upper end.
  static func number(_ range: NumberRange) -> Self { number(range, limit: nil) }

  /// A number within a range, of at most `bound`.
  static func number(_ range: NumberRange, _ bound: UpperBound<Double>) -> Self {
    number(range, limit: bound)
  }

  private static func number(_ range: NumberRange, limit: UpperBound<Double>?) -> Self {
    let expected = "a number \(range.description)"
    let limitText = limit.map { ConfigurationValue.number($0.value).flow } ?? ""
    return .init(
      name: "number \(range.description)\(limit == nil ? "" : ", at most \(limitText)")",
      schema: [.init("type", .text("number"))] + range.schema
        + (limit.map { [.init("maximum", .number($0.value))] } ?? []),
      bound: limit.map { "At most \(limitText): \($0.reason)." },
      decode: { node throws(Rejection) in
        let text = try plainText(node, expected: expected)
        guard let value = ScalarSyntax.number(text), value.isFinite, range.contains(value) else {
          throw Rejection(expected: expected, node: node)
        }
        if let limit, value > limit.value {
          throw Rejection(expected: "at most \(limitText) (\(limit.reason))", node: node)
        }
        return value
      },
      encode: { .number($0) })
  }
}

extension ValueType where Value == Bool {
  /// `true` or `false`; the other spellings of YAML 1.1 are accepted too.
  static var flag: Self {
    .init(
      name: "true or false",
      schema: [.init("type", .text("boolean"))],
      decode: { node throws(Rejection) in
        let text = try plainText(node, expected: "true or false")
        switch text.lowercased() {
        case "true", "yes", "on": return true
        case "false", "no", "off": return false
        default: throw Rejection(expected: "true or false", node: node)
        }
      },
      encode: { .boolean($0) })
  }
}

extension ValueType where Value == String {
  /// A text that is not empty; `no`, `1:30` and `2024` need no quotes.
  static func text(_ name: String) -> Self {
    .init(
      name: name,
      schema: [.init("type", .text("string")), .init("minLength", .integer(1))],
      decode: { node throws(Rejection) in
        guard case .scalar(let text, _) = node.content, !node.isNull, !text.isEmpty else {
          throw Rejection(expected: "a \(name)", node: node)
        }
        return text
      },
      encode: { .text($0) })
  }
}

extension ValueType where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
  /// One word out of a closed list.
  static func choice() -> Self {
    let words = Value.allCases.map(\.rawValue)
    let expected = words.count == 1 ? words[0] : "one of \(words.joined(separator: ", "))"
    return .init(
      name: expected,
      schema: [.init("enum", .list(words.map { .text($0) }))],
      decode: { node throws(Rejection) in
        guard case .scalar(let text, _) = node.content else {
          throw Rejection(expected: expected, node: node)
        }
        guard let value = Value(rawValue: text) else {
          let meant = Spelling.suggestion(for: text, among: words)
          throw Rejection(
            expected: expected, node: node, hint: meant.map { "did you mean \($0)?" })
        }
        return value
      },
      encode: { .text($0.rawValue) })
  }
}

extension ValueType {
  /// A list of words out of a closed list, each once; `example` is shown to those who write no list.
  static func choices<Word>(_ example: String) -> Self
  where
    Word: CaseIterable & RawRepresentable & Equatable & Sendable, Word.RawValue == String,
    Value == [Word]
  {
    let word: ValueType<Word> = .choice()
    return .init(
      name: "list of \(word.name)",
      schema: [.init("type", .text("array")), .init("items", .mapping(word.schema))],
      decode: { node throws(Rejection) in
        guard case .list(let items) = node.content else {
          throw Rejection(expected: "a list such as \(example)", node: node)
        }
        var values: [Word] = []
        for item in items {
          let value = try word.decode(item)
          if !values.contains(value) { values.append(value) }
        }
        return values
      },
      encode: { .list($0.map(word.encode)) })
  }
}

extension ValueType where Value == ConfigurationValue {
  /// A mapping whose keys this module does not know.
  static var freeMapping: Self {
    .init(
      name: "mapping",
      schema: [.init("type", .text("object"))],
      decode: { node throws(Rejection) in
        guard case .mapping = node.content else {
          throw Rejection(expected: "a mapping of keys and values", node: node)
        }
        return node.value
      },
      encode: { $0 })
  }
}

extension ValueType {
  /// The same type, or nothing, which YAML writes as `null`.
  static func optional<Wrapped>(
    _ wrapped: ValueType<Wrapped>
  ) -> ValueType<Wrapped?> where Value == Wrapped? {
    .init(
      name: "\(wrapped.name), or null",
      schema: [.init("anyOf", .list([.mapping(wrapped.schema), .mapping(nullSchema)]))],
      bound: wrapped.bound,
      decode: { node throws(Rejection) in node.isNull ? nil : try wrapped.decode(node) },
      encode: { $0.map(wrapped.encode) ?? .null })
  }

  private static var nullSchema: [ConfigurationValue.Entry] { [.init("type", .text("null"))] }

  /// The text of a scalar that is neither quoted nor empty.
  static func plainText(
    _ node: ConfigurationNode, expected: String
  ) throws(Rejection) -> String {
    guard case .scalar(let text, let isPlain) = node.content, !node.isNull else {
      throw Rejection(expected: expected, node: node)
    }
    guard isPlain else {
      throw Rejection(expected: expected, node: node, hint: "remove the quotes")
    }
    return text
  }
}

extension ValueType where Value == String {
  /// A day of the calendar as `YYYY-MM-DD`; it needs no quotes.
  static var date: Self {
    let expected = "a date as YYYY-MM-DD"
    return .init(
      name: "date as YYYY-MM-DD",
      schema: [
        .init("type", .text("string")), .init("pattern", .text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")),
      ],
      decode: { node throws(Rejection) in
        guard case .scalar(let text, _) = node.content, isDate(text) else {
          throw Rejection(expected: expected, node: node)
        }
        return text
      },
      encode: { .text($0) })
  }

  private static func isDate(_ text: String) -> Bool {
    let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard parts.map(\.count) == [4, 2, 2] else { return false }
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard parts.allSatisfy({ $0.allSatisfy { digits.contains($0) } }) else { return false }
    let numbers = parts.map { $0.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) } }
    let (year, month, day) = (numbers[0], numbers[1], numbers[2])
    let isLeapYear = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let lengths = [31, isLeapYear ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return year > 0 && (1...12).contains(month) && (1...lengths[month - 1]).contains(day)
  }
}
