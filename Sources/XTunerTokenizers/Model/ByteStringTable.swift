/// Byte strings numbered in order of insertion, with look-up by content.
struct ByteStringTable: Sendable {
  private var arena: [UInt8] = []
  private var ends: [Int] = []
  private var slots: [Int32]
  private var mask: Int

  /// An empty table that holds `capacity` strings without growing.
  init(capacity: Int) {
    var size = 64
    while size < capacity * 2 { size *= 2 }
    slots = [Int32](repeating: -1, count: size)
    mask = size - 1
    ends.reserveCapacity(capacity)
  }

  var count: Int { ends.count }

  /// FNV-like hash over eight bytes at a time.
  @inline(__always)
  static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
    var hash = UInt64(truncatingIfNeeded: bytes.count) &* 0x9E37_79B9_7F4A_7C15
    var index = 0
    if let base = bytes.baseAddress {
      let raw = UnsafeRawPointer(base)
      while index + 8 <= bytes.count {
        hash =
          (hash ^ raw.loadUnaligned(fromByteOffset: index, as: UInt64.self))
          &* 0xFF51_AFD7_ED55_8CCD
        hash ^= hash >> 32
        index += 8
      }
    }
    var tail: UInt64 = 0
    while index < bytes.count {
      tail = tail << 8 | UInt64(bytes[index])
      index += 1
    }
    hash = (hash ^ tail) &* 0xC4CE_B9FE_1A85_EC53
    hash ^= hash >> 29
    return Int(truncatingIfNeeded: hash & 0x7FFF_FFFF_FFFF_FFFF)
  }

  /// The bytes of string `index`.
  func bytes(at index: Int) -> ArraySlice<UInt8> {
    arena[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
  }

  /// The number of `bytes`, or nil.
  @inline(__always)
  func index(of bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    var slot = Self.hash(bytes) & mask
    while true {
      let candidate = Int(slots[slot])
      if candidate < 0 { return nil }
      if isEqual(candidate, bytes) { return candidate }
      slot = (slot + 1) & mask
    }
  }

  /// The number of `bytes`, adding them if they are new.
  mutating func insert(_ bytes: UnsafeBufferPointer<UInt8>) -> (index: Int, isNew: Bool) {
    if let found = index(of: bytes) { return (found, false) }
    if ends.count * 2 >= slots.count { grow() }
    let index = ends.count
    arena.append(contentsOf: bytes)
    ends.append(arena.count)
    place(index, hash: Self.hash(bytes))
    return (index, true)
  }

  /// The number of the UTF-8 bytes of `text`, or nil.
  func index(of text: String) -> Int? {
    var text = text
    return text.withUTF8 { index(of: $0) }
  }

  @inline(__always)
  private func isEqual(_ candidate: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    let start = candidate == 0 ? 0 : ends[candidate - 1]
    guard ends[candidate] - start == bytes.count else { return false }
    for offset in 0..<bytes.count where arena[start + offset] != bytes[offset] { return false }
    return true
  }

  private mutating func place(_ index: Int, hash: Int) {
    var slot = hash & mask
    while slots[slot] >= 0 { slot = (slot + 1) & mask }
    slots[slot] = Int32(index)
  }

  private mutating func grow() {
    slots = [Int32](repeating: -1, count: slots.count * 2)
    mask = slots.count - 1
    for index in 0..<ends.count {
      let hash = bytes(at: index).withUnsafeBufferPointer { Self.hash($0) }
      place(index, hash: hash)
    }
  }
}
