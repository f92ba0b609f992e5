internal import Dispatch
internal import Synchronization

extension Tokenizer {
  /// The ids of every text, computed on `threads` threads; the result does not depend on `threads`.
  ///
  /// - Throws: The error of the first text that `encode` throws for.
  public func encodeBatch(
    _ texts: [String], threads: Int
  ) throws(TokenizerError) -> [[Int32]] {
    try encodeBatch(count: texts.count, threads: threads) { self.result(utf8: texts[$0].utf8) }
  }

  /// The ids of every index below `count`, in order; blocks until all are done.
  func encodeBatch(
    count: Int, threads: Int, _ encode: @Sendable (Int) -> Result<[Int32], TokenizerError>
  ) throws(TokenizerError) -> [[Int32]] {
    var ids: [[Int32]] = []
    ids.reserveCapacity(count)
    for result in parallelMap(count: count, threads: threads, encode) {
      ids.append(try result.get())
    }
    return ids
  }

  /// `transform` of every index below `count`, in order; blocks until all are done.
  private func parallelMap<Value>(
    count: Int, threads: Int, _ transform: @Sendable (Int) -> Value
  ) -> [Value] {
    precondition(threads > 0, "threads: must be at least 1, is \(threads)")
    guard threads > 1, count > 1 else { return (0..<count).map(transform) }
    return [Value](unsafeUninitializedCapacity: count) { buffer, initializedCount in
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
private struct ResultSlots<Value>: @unchecked Sendable {
  let base: UnsafeMutablePointer<Value>?

  func set(_ index: Int, _ value: Value) { base?.advanced(by: index).initialize(to: value) }
}
