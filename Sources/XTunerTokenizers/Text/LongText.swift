/// Cuts huge texts exactly where the published Kimi tokenizer cuts them, since a cut changes ids.
///
/// The text is cut every 400,000 characters, and inside each part after 25,000 characters that are
/// all white space or all not.
enum LongText {
  static let chunkSize = 25_000
  private static let textSize = 400_000

  /// The parts of well-formed `bytes`, in order.
  static func chunks(of bytes: UnsafeBufferPointer<UInt8>) -> [UnsafeBufferPointer<UInt8>] {
    var result: [UnsafeBufferPointer<UInt8>] = []
    var start = 0
    var runLength = 0
    var characterCount = 0
    var isInSpace: Bool?
    var index = 0
    func cut() {
      result.append(UnsafeBufferPointer(rebasing: bytes[start..<index]))
      start = index
    }
    while index < bytes.count {
      var end = index + 1
      while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
      let isSpace = isSpace(bytes[index..<end])
      if characterCount == textSize {
        cut()
        characterCount = 0
        runLength = 0
        isInSpace = nil
      }
      // The first character of a part continues the run that the part begins with.
      if isInSpace != nil, isInSpace != isSpace {
        runLength = 1
      } else {
        runLength += 1
        if runLength > chunkSize {
          cut()
          runLength = 1
        }
      }
      isInSpace = isSpace
      characterCount += 1
      index = end
    }
    cut()
    return result
  }

  /// Python's `str.isspace` for one character: White_Space and the four separators U+001C to U+001F.
  private static func isSpace(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
    if let first = bytes.first, first < 0x80 {
      return first == 0x20 || (0x09...0x0D).contains(first) || (0x1C...0x1F).contains(first)
    }
    return String(decoding: bytes, as: UTF8.self).unicodeScalars.first?.properties.isWhitespace
      == true
  }
}
