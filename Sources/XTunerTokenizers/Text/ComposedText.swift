// The standard library's own normalisation: Foundation's turns some conjoining Hangul into U+FFFD
// and is 35 times slower.
internal import Foundation
@_spi(_Unicode) internal import Swift

/// Canonical composition (NFC) that leaves text alone where nothing can change.
enum ComposedText {
  /// Blocks whose characters are unchanged by NFC, are starters and never join the character before
  /// them, so text may be cut in front of any of them.
  ///
  /// Leaving a block out costs time only.
  private static let stable: [ClosedRange<UInt32>] = [
    0x0000...0x02FF, 0x0391...0x03A9, 0x03B1...0x03C9, 0x0400...0x0482, 0x048A...0x052F,
    0x05D0...0x05EA, 0x0620...0x064A, 0x0660...0x066F, 0x0904...0x0928, 0x092A...0x0930,
    0x0E01...0x0E37, 0x0E40...0x0E46, 0x1E00...0x1EFF, 0x2002...0x2027, 0x202A...0x205F,
    0x2190...0x2328, 0x232B...0x2ADB, 0x2B00...0x2BFF, 0x3000...0x3029, 0x3030...0x3098,
    0x309B...0x30FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xAC00...0xD7A3, 0xFF01...0xFFEF,
    0x1F000...0x1FAFF,
  ]

  /// Whether the reference's normalisation, which is of Unicode 9, takes `scalar` for unassigned: it
  /// neither moves nor joins.
  ///
  /// Unassigned characters behave the same.
  private static func isUnknown(_ scalar: UInt32) -> Bool {
    guard let age = Unicode.Scalar(scalar)?.properties.age else { return true }
    return age.major > 9
  }

  /// The composed bytes, or nil when `bytes` (well-formed UTF-8) are composed already.
  static func composed(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
    guard var position = firstUnstable(bytes, from: 0) else { return nil }
    var result: [UInt8] = []
    var copied = 0
    var hasChanged = false
    while true {
      let start = beginning(of: bytes, before: position, notBefore: copied)
      var end = position
      while end < bytes.count {
        let (scalar, length) = scalar(bytes, at: end)
        if isStable(scalar) || isUnknown(scalar) { break }
        end += length
      }
      let segment = UnsafeBufferPointer(rebasing: bytes[start..<end])
      let composed = utf8(expanded(String(decoding: segment, as: UTF8.self))._nfc)
      if !composed.elementsEqual(segment) {
        hasChanged = true
        result.append(contentsOf: bytes[copied..<start])
        result.append(contentsOf: composed)
        copied = end
      }
      guard let next = firstUnstable(bytes, from: end) else { break }
      position = next
    }
    guard hasChanged else { return nil }
    result.append(contentsOf: bytes[copied...])
    return result
  }

  /// The canonical decomposition (NFD) of `text`.
  static func decomposed(_ text: String) -> [UInt8] {
    mapKnown(text) { utf8(expanded($0)._nfd) }
  }

  /// The compatibility decomposition (NFKD) of `text`, then composed (NFKC) if asked for.
  static func compatibility(_ text: String, isComposed: Bool) -> [UInt8] {
    mapKnown(text) { part in
      let decomposed = expanded(part).decomposedStringWithCompatibilityMapping
      return isComposed ? utf8(decomposed._nfc) : utf8(decomposed._nfd)
    }
  }

  /// `text` with three Tibetan vowels taken apart: they are no marks themselves but decompose to
  /// marks, and the standard library does not move those among the marks around them.
  ///
  /// Nothing composes to them, so no form has them.
  private static func expanded(_ text: String) -> String {
    guard text.utf8.contains(0xE0), text.unicodeScalars.contains(where: { parts(of: $0) != nil })
    else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      if let (first, second) = parts(of: scalar) {
        result.append(first)
        result.append(second)
      } else {
        result.append(scalar)
      }
    }
    return String(result)
  }

  private static func parts(of scalar: Unicode.Scalar) -> (Unicode.Scalar, Unicode.Scalar)? {
    switch scalar {
    case "\u{F73}": ("\u{F71}", "\u{F72}")
    case "\u{F75}": ("\u{F71}", "\u{F74}")
    case "\u{F81}": ("\u{F71}", "\u{F80}")
    default: nil
    }
  }

  /// Rewrites the stretches between characters that the reference does not know.
  private static func mapKnown(_ text: String, _ rewrite: (String) -> [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var stretch = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      guard isUnknown(scalar.value) else {
        stretch.append(scalar)
        continue
      }
      result += rewrite(String(stretch)) + Array(UTF8.encode(scalar) ?? .init())
      stretch = String.UnicodeScalarView()
    }
    return result + rewrite(String(stretch))
  }

  private static func utf8(_ scalars: some Sequence<Unicode.Scalar>) -> [UInt8] {
    var result: [UInt8] = []
    for scalar in scalars { result.append(contentsOf: UTF8.encode(scalar) ?? .init()) }
    return result
  }

  /// The start of the character before `position`, which a mark at `position` may join.
  private static func beginning(
    of bytes: UnsafeBufferPointer<UInt8>, before position: Int, notBefore limit: Int
  ) -> Int {
    guard position > limit else { return position }
    var index = position - 1
    while index > limit, bytes[index] & 0xC0 == 0x80 { index -= 1 }
    return isUnknown(scalar(bytes, at: index).value) ? position : index
  }

  private static func firstUnstable(
    _ bytes: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> Int? {
    var index = start
    while index < bytes.count {
      // Lead bytes below 0xCC begin characters below U+0300.
      if bytes[index] < 0xCC {
        index += 1
        continue
      }
      let (scalar, length) = scalar(bytes, at: index)
      if !isStable(scalar), !isUnknown(scalar) { return index }
      index += length
    }
    return nil
  }

  @inline(__always)
  private static func isStable(_ scalar: UInt32) -> Bool {
    // Most text outside Latin is in one of these three.
    if scalar < 0x300 || (0x4E00...0x9FFF).contains(scalar) || (0xAC00...0xD7A3).contains(scalar) {
      return true
    }
    return stable.contains { $0.contains(scalar) }
  }

  @inline(__always)
  private static func scalar(
    _ bytes: UnsafeBufferPointer<UInt8>, at index: Int
  ) -> (value: UInt32, length: Int) {
    let first = UInt32(bytes[index])
    if first < 0x80 { return (first, 1) }
    let second = UInt32(bytes[index + 1] & 0x3F)
    if first < 0xE0 { return ((first & 0x1F) << 6 | second, 2) }
    let third = UInt32(bytes[index + 2] & 0x3F)
    if first < 0xF0 { return ((first & 0x0F) << 12 | second << 6 | third, 3) }
    let fourth = UInt32(bytes[index + 3] & 0x3F)
    return ((first & 0x07) << 18 | second << 12 | third << 6 | fourth, 4)
  }
}
