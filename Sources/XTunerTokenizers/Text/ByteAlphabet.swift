/// The visible character that stands for each byte in byte-level vocabularies.
///
/// Printable Latin-1 bytes stand for themselves; the other 68 get U+0100 to U+0143 in increasing
/// order of the byte, as in GPT-2.
enum ByteAlphabet {
  /// Scalar of each byte.
  static let scalars: [Unicode.Scalar] = {
    var next: UInt32 = 0x100
    return (UInt32(0)..<256).map { byte in
      if isVisible(byte) { return Unicode.Scalar(UInt8(byte)) }
      defer { next += 1 }
      return Unicode.Scalar(next) ?? "\u{FFFD}"
    }
  }()

  /// Byte of each scalar below U+0144, -1 where the scalar stands for no byte.
  static let bytes: [Int16] = {
    var table = [Int16](repeating: -1, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = Int16(byte) }
    return table
  }()

  /// The bytes that `token` stands for, or nil if a character is not of the alphabet.
  static func decode(_ token: String) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.utf8.count)
    for scalar in token.unicodeScalars {
      guard scalar.value < 0x144 else { return nil }
      let byte = bytes[Int(scalar.value)]
      guard byte >= 0 else { return nil }
      result.append(UInt8(byte))
    }
    return result
  }

  /// The visible form of `bytes`.
  static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var result = String.UnicodeScalarView()
    for byte in bytes { result.append(scalars[Int(byte)]) }
    return String(result)
  }

  private static func isVisible(_ byte: UInt32) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
  }
}
