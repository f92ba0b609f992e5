/// Rank and result of every pair of ids that may merge: an open-addressing hash table.
///
/// `@unchecked Sendable`: the memory is written by `insert` before the table is shared and only
/// read afterwards.
final class MergeTable: @unchecked Sendable {
  /// A rank above every real one: the pair does not merge.
  static let never = UInt32.max

  struct Merge {
    var rank: UInt32
    var id: Int32
  }

  private struct Slot {
    var pair: UInt64
    var merge: Merge
  }

  private static let empty = UInt64.max
  private let slots: UnsafeMutablePointer<Slot>
  private let capacity: Int
  private let shift: UInt64
  private(set) var count = 0

  /// Room for `count` pairs.
  init(pairCount: Int) {
    var size = 64
    var bits: UInt64 = 6
    while size < pairCount * 2 + 1 {
      size *= 2
      bits += 1
    }
    capacity = size
    shift = 64 - bits
    slots = .allocate(capacity: size)
    slots.initialize(
      repeating: Slot(pair: Self.empty, merge: Merge(rank: Self.never, id: -1)), count: size)
  }

  deinit { slots.deallocate() }

  @inline(__always)
  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always)
  private func slot(of pair: UInt64) -> Int {
    Int(truncatingIfNeeded: ((pair ^ (pair >> 29)) &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }

  /// Rank and result of merging `left` with `right`; rank `never` if they do not merge.
  @inline(__always)
  func merge(_ left: Int32, _ right: Int32) -> Merge {
    let pair = Self.pair(left, right)
    var index = slot(of: pair)
    while true {
      let slot = slots[index]
      if slot.pair == pair { return slot.merge }
      if slot.pair == Self.empty { return Merge(rank: Self.never, id: -1) }
      index = (index + 1) & (capacity - 1)
    }
  }

  /// Sets the merge of a pair; a later call for the same pair wins.
  ///
  /// Only before sharing.
  func insert(_ left: Int32, _ right: Int32, _ merge: Merge) {
    let pair = Self.pair(left, right)
    var index = slot(of: pair)
    while slots[index].pair != Self.empty, slots[index].pair != pair {
      index = (index + 1) & (capacity - 1)
    }
    if slots[index].pair == Self.empty { count += 1 }
    precondition(count < capacity, "more pairs than the table was made for")
    slots[index] = Slot(pair: pair, merge: merge)
  }
}
