/// Working memory of byte-pair merging, for one thread at a time.
final class BytePairMerger {
  /// Up to this many symbols the lowest rank is searched in a line, which is faster than a heap.
  private static let linearLimit = 96

  private var capacity = 0
  private var ids: UnsafeMutablePointer<Int32>
  private var merges: UnsafeMutablePointer<MergeTable.Merge>
  private var previous: UnsafeMutablePointer<Int32>
  private var following: UnsafeMutablePointer<Int32>
  private var heap: [UInt64] = []
  private var count = 0

  init() {
    capacity = 256
    ids = .allocate(capacity: capacity)
    merges = .allocate(capacity: capacity)
    previous = .allocate(capacity: capacity)
    following = .allocate(capacity: capacity)
  }

  deinit { free() }

  private func free() {
    ids.deallocate()
    merges.deallocate()
    previous.deallocate()
    following.deallocate()
  }

  /// Forgets the symbols and makes room for `symbolCount` new ones.
  func begin(symbolCount: Int) {
    count = 0
    let isWasteful = capacity > 1 << 20 && symbolCount < 1 << 16
    guard symbolCount > capacity || isWasteful else { return }
    free()
    capacity = max(256, symbolCount)
    heap = []
    ids = .allocate(capacity: capacity)
    merges = .allocate(capacity: capacity)
    previous = .allocate(capacity: capacity)
    following = .allocate(capacity: capacity)
  }

  @inline(__always)
  func add(_ id: Int32) {
    ids[count] = id
    count += 1
  }

  /// Merges the symbols, lowest rank first and leftmost among equals, and appends what is left.
  @inline(__always)
  func finish(_ table: MergeTable, into output: IDBuffer) {
    if count > 1 {
      if count <= Self.linearLimit {
        mergeLinearly(table)
      } else {
        mergeWithHeap(table)
      }
    }
    output.append(ids, count: count)
  }

  private func mergeLinearly(_ table: MergeTable) {
    let never = MergeTable.Merge(rank: MergeTable.never, id: -1)
    for index in 0..<count - 1 { merges[index] = table.merge(ids[index], ids[index + 1]) }
    merges[count - 1] = never
    while true {
      var best = 0
      var bestRank = MergeTable.never
      for index in 0..<count where merges[index].rank < bestRank {
        bestRank = merges[index].rank
        best = index
      }
      guard bestRank != MergeTable.never else { return }
      ids[best] = merges[best].id
      count -= 1
      for index in best + 1..<max(count, best + 1) {
        ids[index] = ids[index + 1]
        merges[index] = merges[index + 1]
      }
      merges[best] = best + 1 < count ? table.merge(ids[best], ids[best + 1]) : never
      if best > 0 { merges[best - 1] = table.merge(ids[best - 1], ids[best]) }
    }
  }

  private func mergeWithHeap(_ table: MergeTable) {
    let last = count - 1
    heap.removeAll(keepingCapacity: true)
    for index in 0...last {
      previous[index] = Int32(index - 1)
      following[index] = index == last ? -1 : Int32(index + 1)
      let merge =
        index == last
        ? MergeTable.Merge(rank: MergeTable.never, id: -1)
        : table.merge(ids[index], ids[index + 1])
      merges[index] = merge
      if merge.rank != MergeTable.never { heap.append(Self.entry(merge.rank, index)) }
    }
    for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(from: index) }
    while let top = pop() {
      let index = Int(truncatingIfNeeded: top & 0xFFFF_FFFF)
      // An entry is stale if its symbol was absorbed or merges differently by now.
      guard ids[index] >= 0, UInt64(merges[index].rank) == top >> 32 else { continue }
      let right = Int(following[index])
      ids[index] = merges[index].id
      ids[right] = -1
      following[index] = following[right]
      if following[right] >= 0 { previous[Int(following[right])] = Int32(index) }
      update(index, table)
      if previous[index] >= 0 { update(Int(previous[index]), table) }
    }
    compact()
  }

  @inline(__always)
  private static func entry(_ rank: UInt32, _ index: Int) -> UInt64 {
    UInt64(rank) << 32 | UInt64(truncatingIfNeeded: index)
  }

  /// Looks up the pair that begins at `index` again.
  private func update(_ index: Int, _ table: MergeTable) {
    guard following[index] >= 0 else {
      merges[index].rank = MergeTable.never
      return
    }
    let merge = table.merge(ids[index], ids[Int(following[index])])
    merges[index] = merge
    if merge.rank != MergeTable.never { push(Self.entry(merge.rank, index)) }
  }

  private func compact() {
    var kept = 0
    var index = 0
    while index >= 0 {
      ids[kept] = ids[index]
      kept += 1
      index = Int(following[index])
    }
    count = kept
  }

  private func push(_ entry: UInt64) {
    heap.append(entry)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child] < heap[parent] else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private func pop() -> UInt64? {
    guard let top = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      siftDown(from: 0)
    }
    return top
  }

  private func siftDown(from start: Int) {
    var parent = start
    while true {
      var child = parent * 2 + 1
      guard child < heap.count else { return }
      if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
      guard heap[child] < heap[parent] else { return }
      heap.swapAt(child, parent)
      parent = child
    }
  }
}
