/// How JSON is laid out as text.
public enum JSONTextStyle: Sendable {
  /// `", "` between members and `": "` after keys, as Python's `json.dumps` and as the published
  /// chat templates write it.
  case python
  /// No spaces at all.
  case compact
}

extension JSONValue: CustomStringConvertible {
  /// The value as JSON text in Python's layout, non-ASCII characters kept as they are.
  public var description: String { text(style: .python) }

  /// The value as JSON text on one line, non-ASCII characters kept as they are.
  public func text(style: JSONTextStyle = .python) -> String {
    var writer = JSONWriter(style: style)
    writer.write(self)
    return String(decoding: writer.bytes, as: UTF8.self)
  }
}

private struct JSONWriter {
  var bytes: [UInt8] = []
  let itemSeparator: [UInt8]
  let keySeparator: [UInt8]

  init(style: JSONTextStyle) {
    switch style {
    case .python: (itemSeparator, keySeparator) = (Array(", ".utf8), Array(": ".utf8))
    case .compact: (itemSeparator, keySeparator) = (Array(",".utf8), Array(":".utf8))
    }
  }

  mutating func write(_ value: JSONValue) {
    switch value {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .integer(let value): bytes += String(value).utf8
    case .bigInteger(let digits): bytes += digits.utf8
    case .double(let value): bytes += pythonText(of: value).utf8
    case .string(let value): write(value)
    case .array(let elements):
      bytes.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { bytes += itemSeparator }
        write(element)
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let object):
      bytes.append(UInt8(ascii: "{"))
      for (index, entry) in object.entries.enumerated() {
        if index > 0 { bytes += itemSeparator }
        write(entry.key)
        bytes += keySeparator
        write(entry.value)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  private mutating func write(_ string: String) {
    bytes.append(UInt8(ascii: "\""))
    for byte in string.utf8 {
      switch byte {
      case UInt8(ascii: "\""): bytes += "\\\"".utf8
      case UInt8(ascii: "\\"): bytes += "\\\\".utf8
      case 0x0A: bytes += "\\n".utf8
      case 0x0D: bytes += "\\r".utf8
      case 0x09: bytes += "\\t".utf8
      case 0x08: bytes += "\\b".utf8
      case 0x0C: bytes += "\\f".utf8
      case 0..<0x20:
        bytes += "\\u00".utf8
        if byte < 0x10 { bytes.append(UInt8(ascii: "0")) }
        bytes += String(byte, radix: 16).utf8
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

/// A finite double as Python's `repr` prints it: the same shortest digits as Swift, but with an
/// exponent from 1e16 and below 1e-4.
private func pythonText(of value: Double) -> String {
  guard value.isFinite else {
    if value.isNaN { return "NaN" }
    return value < 0 ? "-Infinity" : "Infinity"
  }
  if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
  let text = "\(value.magnitude)"
  let parts = text.split(separator: "e")
  let mantissa = parts[0].split(separator: ".")
  let whole = String(mantissa[0])
  let fraction = mantissa.count > 1 && mantissa[1] != "0" ? String(mantissa[1]) : ""
  let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0

  // value = 0.digits * 10^pointPosition, with a non-zero first digit.
  let allDigits = whole + fraction
  let leadingZeros = allDigits.prefix { $0 == "0" }.count
  var digits = String(allDigits.dropFirst(leadingZeros))
  let pointPosition = whole.count - leadingZeros + exponent
  while digits.count > 1, digits.last == "0" { digits.removeLast() }

  let sign = value < 0 ? "-" : ""
  let decimalExponent = pointPosition - 1
  if decimalExponent < -4 || decimalExponent >= 16 {
    let tail = digits.dropFirst().isEmpty ? "" : ".\(digits.dropFirst())"
    let size = String(decimalExponent.magnitude)
    let padded = size.count < 2 ? "0\(size)" : size
    return "\(sign)\(digits.prefix(1))\(tail)e\(decimalExponent < 0 ? "-" : "+")\(padded)"
  }
  if pointPosition <= 0 {
    return "\(sign)0.\(String(repeating: "0", count: -pointPosition))\(digits)"
  }
  if digits.count <= pointPosition {
    return "\(sign)\(digits)\(String(repeating: "0", count: pointPosition - digits.count)).0"
  }
  return "\(sign)\(digits.prefix(pointPosition)).\(digits.dropFirst(pointPosition))"
}
