/// Order positions waiting to be packed, by length, first in first out within a length.
///
/// A 64-ary tree of bits over the lengths answers "the longest that fits" in one step a level.
/// Positions of one length form a linked list through `next`, so nothing is allocated per sample.
struct LengthPool {
  private static let none: Int32 = -1

  private var heads: [Int32]
  private var tails: [Int32]
  private var next: [Int32]
  private var bits: [UInt64]
  /// The first word of each level in `bits`; level 0 has one bit a length.
  private var levelStarts: [Int] = []

  init(longest: Int, positionCount: Int) {
    heads = Array(repeating: Self.none, count: longest + 1)
    tails = heads
    next = Array(repeating: Self.none, count: positionCount)
    var wordCount = 0
    var size = longest + 1
    repeat {
      levelStarts.append(wordCount)
      size = (size + 63) / 64
      wordCount += size
    } while size > 1
    bits = Array(repeating: 0, count: wordCount)
  }

  mutating func insert(position: Int, length: Int) {
    if heads[length] == Self.none {
      heads[length] = Int32(position)
      setBit(length)
    } else {
      next[Int(tails[length])] = Int32(position)
    }
    tails[length] = Int32(position)
  }

  /// Takes the earliest position of `length`, which must be there.
  mutating func removeFirst(length: Int) -> Int {
    let position = Int(heads[length])
    heads[length] = next[position]
    if heads[length] == Self.none {
      clearBit(length)
    }
    return position
  }

  /// The longest length present that is at most `limit`.
  func longest(atMost limit: Int) -> Int? {
    var index = limit
    var level = 0
    while true {
      let mask = ~UInt64(0) >> UInt64(63 - (index & 63))
      let word = bits[levelStarts[level] + index >> 6] & mask
      if word != 0 {
        index = (index & ~63) | (63 - word.leadingZeroBitCount)
        break
      }
      index = (index >> 6) - 1
      level += 1
      guard index >= 0, level < levelStarts.count else { return nil }
    }
    while level > 0 {
      level -= 1
      let word = bits[levelStarts[level] + index]
      index = index << 6 | (63 - word.leadingZeroBitCount)
    }
    return index
  }

  private mutating func setBit(_ length: Int) {
    var index = length
    for start in levelStarts {
      let word = start + index >> 6
      let wasEmpty = bits[word] == 0
      bits[word] |= 1 << UInt64(index & 63)
      guard wasEmpty else { return }
      index >>= 6
    }
  }

  private mutating func clearBit(_ length: Int) {
    var index = length
    for start in levelStarts {
      let word = start + index >> 6
      bits[word] &= ~(1 << UInt64(index & 63))
      guard bits[word] == 0 else { return }
      index >>= 6
    }
  }
}
