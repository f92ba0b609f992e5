/// The ids of recently seen short pieces: direct-mapped, of fixed size, for one thread at a time.
final class PieceCache {
  /// Longer pieces are seldom seen twice.
  static let maximumPieceSize = 32
  /// Pieces of more ids are not kept.
  static let maximumIDCount = 7

  /// A piece padded with zero bytes.
  struct Key: Equatable {
    var a: UInt64 = 0
    var b: UInt64 = 0
    var c: UInt64 = 0
    var d: UInt64 = 0

    @inline(__always)
    init(_ bytes: UnsafeBufferPointer<UInt8>) {
      guard let base = bytes.baseAddress else { return }
      let count = bytes.count
      if count <= 8 {
        a = Self.load(base, count)
      } else if count <= 16 {
        a = Self.load(base, 8)
        b = Self.load(base + 8, count - 8)
      } else if count <= 24 {
        a = Self.load(base, 8)
        b = Self.load(base + 8, 8)
        c = Self.load(base + 16, count - 16)
      } else {
        a = Self.load(base, 8)
        b = Self.load(base + 8, 8)
        c = Self.load(base + 16, 8)
        d = Self.load(base + 24, count - 24)
      }
    }

    /// The first `count` bytes, 0 to 8, as one number.
    @inline(__always)
    private static func load(_ base: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
      let raw = UnsafeRawPointer(base)
      if count == 8 { return raw.loadUnaligned(as: UInt64.self) }
      if count >= 4 {
        let low = UInt64(raw.loadUnaligned(as: UInt32.self))
        let high = UInt64(raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
        return low | high << UInt64((count - 4) * 8)
      }
      if count == 0 { return 0 }
      let first = UInt64(base[0])
      let middle = UInt64(base[count >> 1])
      let last = UInt64(base[count - 1])
      return first | middle << UInt64((count >> 1) * 8) | last << UInt64((count - 1) * 8)
    }

    @inline(__always)
    func slot(count: Int) -> Int {
      var hash = (a ^ UInt64(truncatingIfNeeded: count)) &* 0x9E37_79B9_7F4A_7C15
      hash ^= hash >> 32
      hash = (hash ^ b) &* 0xC4CE_B9FE_1A85_EC53
      hash ^= hash >> 32
      hash = (hash ^ c ^ (d &* 0xFF51_AFD7_ED55_8CCD)) &* 0x9E37_79B9_7F4A_7C15
      return Int(truncatingIfNeeded: hash >> 49)
    }
  }

  private struct Slot {
    var key: Key
    var pieceSize: UInt16
    var idCount: UInt16
    var ids: (Int32, Int32, Int32, Int32, Int32, Int32, Int32)
  }

  private static let slotCount = 1 << 15
  private let slots: UnsafeMutablePointer<Slot>

  init() {
    slots = .allocate(capacity: Self.slotCount)
    let empty = Slot(
      key: Key(UnsafeBufferPointer(start: nil, count: 0)), pieceSize: 0, idCount: 0,
      ids: (0, 0, 0, 0, 0, 0, 0))
    slots.initialize(repeating: empty, count: Self.slotCount)
  }

  deinit { slots.deallocate() }

  /// Appends the ids of a known piece; false if it is not known.
  @inline(__always)
  func append(_ key: Key, pieceSize: Int, to output: IDBuffer) -> Bool {
    let slot = slots + key.slot(count: pieceSize)
    guard Int(slot.pointee.pieceSize) == pieceSize, slot.pointee.key == key else { return false }
    let ids = UnsafeRawPointer(slot).advanced(by: 36).assumingMemoryBound(to: Int32.self)
    output.append(ids, count: Int(slot.pointee.idCount))
    return true
  }

  /// Remembers the ids of a piece, replacing what was in its slot.
  func store(_ key: Key, pieceSize: Int, ids: UnsafeBufferPointer<Int32>) {
    guard ids.count <= Self.maximumIDCount else { return }
    let slot = slots + key.slot(count: pieceSize)
    slot.pointee.key = key
    slot.pointee.pieceSize = UInt16(pieceSize)
    slot.pointee.idCount = UInt16(ids.count)
    withUnsafeMutableBytes(of: &slot.pointee.ids) { target in
      target.copyMemory(from: UnsafeRawBufferPointer(ids))
    }
  }
}

/// A growing list of ids without bounds checks, for one thread at a time.
final class IDBuffer {
  private(set) var base: UnsafeMutablePointer<Int32>
  private(set) var count = 0
  private var capacity: Int

  init(capacity: Int = 4096) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
  }

  deinit { base.deallocate() }

  var array: [Int32] { Array(UnsafeBufferPointer(start: base, count: count)) }

  func removeAll() {
    count = 0
    // One huge text must not keep its memory for the life of the tokenizer.
    guard capacity > 1 << 22 else { return }
    base.deallocate()
    capacity = 4096
    base = .allocate(capacity: capacity)
  }

  @inline(__always)
  func append(_ id: Int32) {
    if count == capacity { reserve(1) }
    base[count] = id
    count += 1
  }

  @inline(__always)
  func append(_ ids: UnsafePointer<Int32>, count added: Int) {
    if count + added > capacity { reserve(added) }
    for index in 0..<added { base[count + index] = ids[index] }
    count += added
  }

  private func reserve(_ added: Int) {
    capacity = max(capacity * 2, count + added)
    let larger = UnsafeMutablePointer<Int32>.allocate(capacity: capacity)
    larger.update(from: base, count: count)
    base.deallocate()
    base = larger
  }
}
