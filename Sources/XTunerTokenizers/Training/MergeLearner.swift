/// The incremental core of byte-pair training: pair counts are corrected where a merge changes
/// them, and a heap with stale entries finds the next pair.
struct MergeLearner {
  /// Bytes of every token, by id.
  private(set) var tokens: [[UInt8]]
  /// The pairs of ids that merge, in order.
  private(set) var merges: [(left: Int32, right: Int32)] = []

  private struct Candidate {
    var count: Int
    var pair: UInt64

    /// Whether this one is merged before `other`.
    @inline(__always)
    func precedes(_ other: Candidate) -> Bool {
      count != other.count ? count > other.count : pair < other.pair
    }
  }

  private var tokenTable = ByteStringTable(capacity: 1 << 12)
  /// Symbols of all words in one list; a word only ever gets shorter.
  private var symbols: [Int32] = []
  private var starts: [Int] = []
  private var lengths: [Int32] = []
  private let counts: [Int]
  private var pairIndices: [UInt64: Int32] = [:]
  private var pairCounts: [Int] = []
  /// Words a pair was seen in; may name a word twice or one that lost the pair.
  private var pairWords: [[Int32]] = []
  private var heap: [Candidate] = []

  init(words: ByteStringTable, counts: [Int]) {
    self.counts = counts
    // Byte ids follow the order of the alphabet's characters, as in every published vocabulary.
    let order = (UInt8.min...UInt8.max).sorted {
      ByteAlphabet.scalars[Int($0)] < ByteAlphabet.scalars[Int($1)]
    }
    tokens = order.map { [$0] }
    var idOfByte = [Int32](repeating: 0, count: 256)
    for (id, byte) in order.enumerated() {
      idOfByte[Int(byte)] = Int32(id)
      _ = [byte].withUnsafeBufferPointer { tokenTable.insert($0) }
    }
    for index in 0..<words.count {
      starts.append(symbols.count)
      for byte in words.bytes(at: index) { symbols.append(idOfByte[Int(byte)]) }
      lengths.append(Int32(symbols.count - starts[index]))
    }
    countPairs()
  }

  /// Merges until there are `tokenLimit` tokens or no pair is frequent enough.
  mutating func learn(tokenLimit: Int, minimumFrequency: Int) {
    while tokens.count < tokenLimit, let top = pop() {
      guard let index = pairIndices[top.pair].map(Int.init) else { continue }
      let count = pairCounts[index]
      if count != top.count {
        if count > 0 { push(Candidate(count: count, pair: top.pair)) }
        continue
      }
      guard count >= max(1, minimumFrequency) else { return }
      let left = Int32(truncatingIfNeeded: top.pair >> 32)
      let right = Int32(truncatingIfNeeded: top.pair)
      let id = token(left, right)
      merges.append((left, right))
      apply(left, right, id, index)
    }
  }

  @inline(__always)
  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// The id of the two tokens together; two different pairs may spell the same token.
  private mutating func token(_ left: Int32, _ right: Int32) -> Int32 {
    let bytes = tokens[Int(left)] + tokens[Int(right)]
    let (index, isNew) = bytes.withUnsafeBufferPointer { tokenTable.insert($0) }
    if isNew { tokens.append(bytes) }
    return Int32(index)
  }

  private mutating func countPairs() {
    for word in 0..<starts.count {
      let start = starts[word]
      for offset in 0..<max(0, Int(lengths[word]) - 1) {
        let pair = Self.pair(symbols[start + offset], symbols[start + offset + 1])
        change(pair, by: counts[word], word: Int32(word))
      }
    }
    for (pair, index) in pairIndices {
      heap.append(Candidate(count: pairCounts[Int(index)], pair: pair))
    }
    for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(from: index) }
  }

  /// Adds `amount` to the count of a pair; a word that gained the pair is remembered.
  private mutating func change(_ pair: UInt64, by amount: Int, word: Int32) {
    let index: Int
    if let found = pairIndices[pair] {
      index = Int(found)
    } else {
      index = pairCounts.count
      pairIndices[pair] = Int32(index)
      pairCounts.append(0)
      pairWords.append([])
    }
    pairCounts[index] += amount
    if amount > 0, pairWords[index].last != word { pairWords[index].append(word) }
  }

  /// Replaces the pair by `id` in every word that has it.
  private mutating func apply(_ left: Int32, _ right: Int32, _ id: Int32, _ index: Int) {
    let found = pairWords[index]
    pairWords[index] = []
    pairCounts[index] = 0
    var gained: Set<UInt64> = []
    for word in found { merge(left, right, id, in: word, &gained) }
    // What overlaps the pair itself, as in "aaa", was counted down twice or regained.
    pairCounts[index] = max(0, pairCounts[index])
    for pair in gained {
      guard let index = pairIndices[pair] else { continue }
      let count = pairCounts[Int(index)]
      if count > 0 { push(Candidate(count: count, pair: pair)) }
    }
  }

  private mutating func merge(
    _ left: Int32, _ right: Int32, _ id: Int32, in word: Int32, _ gained: inout Set<UInt64>
  ) {
    let start = starts[Int(word)]
    var length = Int(lengths[Int(word)])
    let count = counts[Int(word)]
    var read = 0
    var write = 0
    while read < length {
      let symbol = symbols[start + read]
      guard symbol == left, read + 1 < length, symbols[start + read + 1] == right else {
        symbols[start + write] = symbol
        read += 1
        write += 1
        continue
      }
      if write > 0 {
        let before = symbols[start + write - 1]
        change(Self.pair(before, left), by: -count, word: word)
        change(Self.pair(before, id), by: count, word: word)
        gained.insert(Self.pair(before, id))
      }
      if read + 2 < length {
        let after = symbols[start + read + 2]
        change(Self.pair(right, after), by: -count, word: word)
        change(Self.pair(id, after), by: count, word: word)
        gained.insert(Self.pair(id, after))
      }
      symbols[start + write] = id
      read += 2
      write += 1
    }
    length = write
    lengths[Int(word)] = Int32(length)
  }

  // MARK: - Heap

  private mutating func push(_ candidate: Candidate) {
    heap.append(candidate)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].precedes(heap[parent]) else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func pop() -> Candidate? {
    guard let top = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      siftDown(from: 0)
    }
    return top
  }

  private mutating func siftDown(from start: Int) {
    var parent = start
    while true {
      var child = parent * 2 + 1
      guard child < heap.count else { return }
      if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
      guard heap[child].precedes(heap[parent]) else { return }
      heap.swapAt(child, parent)
      parent = child
    }
  }
}
