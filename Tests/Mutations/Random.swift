import XTunerData
import XTunerTokenizers

/// Choices of a case.
struct Random {
  private var generator: SplitMix64

  init(_ generator: SplitMix64) { self.generator = generator }

  mutating func index(below bound: Int) -> Int { Int(generator.next(below: UInt64(bound))) }

  mutating func index(in range: ClosedRange<Int>) -> Int {
    range.lowerBound + index(below: range.count)
  }

  mutating func pick<Element>(_ elements: [Element]) -> Element {
    elements[index(below: elements.count)]
  }

  mutating func happens(oneIn count: Int) -> Bool { index(below: count) == 0 }
}

// MARK: - Bytes

extension Random {
  private static let tellingBytes: [UInt8] = [
    0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x5C, 0x7B, 0x7D, 0x5B, 0x5D, 0x2C, 0x3A, 0x2D, 0x39, 0x1B,
    0xC3, 0xED,
  ]

  /// The bytes with one to four faults: changed, removed, repeated, moved or cut off.
  mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<index(in: 1...4) where !bytes.isEmpty {
      let start = index(below: bytes.count)
      let end = min(bytes.count, start + 1 + index(below: pick([1, 8, 64, 4096])))
      switch index(below: 8) {
      case 0: bytes[start] ^= 1 << UInt8(index(below: 8))
      case 1: bytes[start] = pick(Self.tellingBytes)
      case 2: bytes.insert(pick(Self.tellingBytes), at: start)
      case 3: bytes.removeSubrange(start..<end)
      case 4: bytes.insert(contentsOf: bytes[start..<end], at: index(in: 0...bytes.count))
      case 5: bytes.removeSubrange(start...)
      case 6: bytes.append(contentsOf: bytes[start..<end])
      default: for place in start..<end { bytes[place] = UInt8(index(below: 256)) }
      }
    }
    return bytes
  }
}

// MARK: - JSON

extension Random {
  private static let tellingNumbers = [
    0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65_535, 65_536, Int(Int32.max), Int(Int32.min),
    Int(Int32.max) + 1, 1 << 53, .max, .min, .max - 1, .max / 2, .max / 8 + 1,
  ]

  /// A value that a reader may not expect.
  mutating func oddValue() -> JSONValue {
    switch index(below: 10) {
    case 0: .null
    case 1: .bool(happens(oneIn: 2))
    case 2, 3, 4: .integer(pick(Self.tellingNumbers))
    case 5: .bigInteger("1\(String(repeating: "0", count: index(in: 19...400)))")
    case 6: .double(pick([0.5, -0.0, 1e308, .leastNonzeroMagnitude, -1.5, 1e-7, 3.0]))
    case 7:
      .string(
        pick(["", "\u{0}", "a\u{1B}[2J", "\u{FEFF}", "..", "/", "e\u{301}", "(((((", "<|x|>"]))
    case 8: .array((0..<index(below: 5)).map { .integer($0) })
    default: .object(JSONObject([]))
    }
  }

  /// The value with one to three faults somewhere inside of it.
  mutating func mutated(_ value: JSONValue) -> JSONValue {
    var value = value
    for _ in 0..<index(in: 1...3) { value = withFault(value) }
    return value
  }

  private mutating func withFault(_ value: JSONValue) -> JSONValue {
    switch value {
    case .array(var elements) where !elements.isEmpty && !happens(oneIn: 8):
      let place = index(below: elements.count)
      switch index(below: 8) {
      case 0: elements.remove(at: place)
      case 1: elements.append(elements[place])
      case 2: elements.swapAt(place, index(below: elements.count))
      default: elements[place] = withFault(elements[place])
      }
      return .array(elements)
    case .object(let object) where !object.isEmpty && !happens(oneIn: 8):
      var entries = object.entries
      let place = index(below: entries.count)
      switch index(below: 10) {
      case 0: entries.remove(at: place)
      case 1: entries[place].key = pick(["", "x", entries[place].key + "\u{301}", "__proto__"])
      case 2: entries[place].value = entries[index(below: entries.count)].value
      default: entries[place].value = withFault(entries[place].value)
      }
      return .object(JSONObject(entries))
    case .integer(let number) where happens(oneIn: 3):
      return .integer(number &+ pick([-1, 1, number, 1 << 31, 1 << 62]))
    case .string(let text) where happens(oneIn: 2):
      return .string(String(decoding: mutated(Array(text.utf8)), as: UTF8.self))
    default:
      // Nesting beyond what any reader allows, now and then.
      guard happens(oneIn: 40) else { return oddValue() }
      return (0..<index(in: 1...3_000)).reduce(oddValue()) { nested, _ in .array([nested]) }
    }
  }
}
