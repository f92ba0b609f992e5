internal import Dispatch
internal import Synchronization

extension Tokenizer {
  /// The ids of every text, computed on `threads` threads; the result does not depend on `threads`.
  public func encodeBatch(_ texts: [String], threads: Int) -> [[Int32]] {
    parallelMap(count: texts.count, threads: threads) { self.encode(texts[$0]) }
  }

  /// `transform` of every index below `count`, in order; blocks until all are done.
  func parallelMap(
    count: Int, threads: Int, _ transform: @Sendable (Int) -> [Int32]
  ) -> [[Int32]] {
    precondition(threads > 0, "threads: must be at least 1, is \(threads)")
    guard threads > 1, count > 1 else { return (0..<count).map(transform) }
    return [[Int32]](unsafeUninitializedCapacity: count) { buffer, initializedCount in
      let results = ResultSlots(base: buffer.baseAddress)
      let next = Atomic<Int>(0)
      let step = max(1, min(64, count / (threads * 64)))
      DispatchQueue.concurrentPerform(iterations: threads) { _ in
        while true {
          let start = next.add(step, ordering: .relaxed).oldValue
          guard start < count else { return }
          for index in start..<min(start + step, count) {
            results.set(index, transform(index))
          }
        }
      }
      initializedCount = count
    }
  }
}

/// Uninitialised memory that several threads fill.
///
/// `@unchecked Sendable`: every index is written by exactly one thread.
private struct ResultSlots: @unchecked Sendable {
  let base: UnsafeMutablePointer<[Int32]>?

  func set(_ index: Int, _ ids: [Int32]) { base?.advanced(by: index).initialize(to: ids) }
}
