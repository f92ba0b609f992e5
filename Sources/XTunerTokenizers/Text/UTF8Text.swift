/// Checks and repairs UTF-8 as the Unicode standard's substitution of maximal subparts does, which
/// is also what Rust's `from_utf8_lossy` and Python's `errors="replace"` do.
enum UTF8Text {
  /// The bytes of U+FFFD, which stands for every maximal ill-formed part.
  static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

  /// What the bytes at one position are.
  enum Step: Equatable {
    /// A whole character of this many bytes.
    case character(Int)
    /// An ill-formed part of this many bytes.
    case invalid(Int)
    /// A correct beginning of a character that the end of the bytes cuts off.
    case incomplete(Int)
  }

  /// Looks at the character that begins at `index`.
  @inline(__always)
  static func step(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> Step {
    let first = bytes[index]
    if first < 0x80 { return .character(1) }
    var low: UInt8 = 0x80
    var high: UInt8 = 0xBF
    let length: Int
    switch first {
    case 0xC2...0xDF: length = 2
    case 0xE0:
      length = 3
      low = 0xA0
    case 0xED:
      length = 3
      high = 0x9F
    case 0xE1...0xEF: length = 3
    case 0xF0:
      length = 4
      low = 0x90
    case 0xF1...0xF3: length = 4
    case 0xF4:
      length = 4
      high = 0x8F
    default: return .invalid(1)
    }
    for offset in 1..<length {
      guard index + offset < bytes.count else { return .incomplete(offset) }
      let byte = bytes[index + offset]
      guard byte >= low, byte <= high else { return .invalid(offset) }
      low = 0x80
      high = 0xBF
    }
    return .character(length)
  }

  /// The first position that is not well-formed UTF-8, or nil.
  static func firstInvalid(_ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    var index = 0
    while index < bytes.count {
      while index + 8 <= bytes.count,
        UnsafeRawPointer(bytes.baseAddress.unsafelyUnwrapped)
          .loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
      {
        index += 8
      }
      guard index < bytes.count else { return nil }
      guard case .character(let length) = step(bytes, at: index) else { return index }
      index += length
    }
    return nil
  }

  /// The bytes with every ill-formed part replaced by U+FFFD.
  static func repaired(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 16)
    var index = 0
    while index < bytes.count {
      switch step(bytes, at: index) {
      case .character(let length):
        result.append(contentsOf: bytes[index..<index + length])
        index += length
      case .invalid(let length), .incomplete(let length):
        result.append(contentsOf: replacement)
        index += length
      }
    }
    return result
  }

  /// The text of `bytes`, ill-formed parts replaced.
  static func string(_ bytes: [UInt8]) -> String {
    bytes.withUnsafeBufferPointer { buffer in
      if firstInvalid(buffer) == nil { return String(decoding: buffer, as: UTF8.self) }
      return String(decoding: repaired(buffer), as: UTF8.self)
    }
  }

  /// How many bytes at the end are the correct beginning of a character not yet complete: 0 to 3.
  static func incompleteSuffixCount(_ bytes: [UInt8]) -> Int {
    bytes.withUnsafeBufferPointer { buffer in
      for back in 1...3 where back <= buffer.count {
        let index = buffer.count - back
        if buffer[index] & 0xC0 == 0x80 { continue }
        if case .incomplete(let length) = step(buffer, at: index), length == back { return back }
        return 0
      }
      return 0
    }
  }
}
