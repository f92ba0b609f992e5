import Foundation
import Synchronization
import Torch

/// Runs `body` as each of `count` ranks, on a thread each, with one store; waits for all.
///
/// - Returns: What each rank returned or threw, by rank.
func runRanks<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (_ rank: Int, _ store: Store) throws -> Value
) throws -> [Result<Value, any Error>] {
  let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
  let results = RankResults<Value>()
  for rank in 0..<count {
    let thread = Thread { results.set(rank, Result { try body(rank, store) }) }
    thread.stackSize = 16 << 20
    thread.start()
  }
  return results.wait(for: count)
}

/// As `runRanks`, with a group of all ranks for each; what each rank returned.
func runGroup<Value: Sendable>(
  _ count: Int, timeout: Duration = .seconds(20),
  _ body: @escaping @Sendable (_ group: ProcessGroup) throws -> Value
) throws -> [Value] {
  try runRanks(count) { rank, store in
    try body(
      ProcessGroup(
        name: "world", ranks: Array(0..<count), rank: rank, store: store, timeout: timeout))
  }.map { try $0.get() }
}

/// Results of threads, by rank.
private final class RankResults<Value: Sendable>: Sendable {
  private let results = Mutex<[Int: Result<Value, any Error>]>([:])
  private let ended = DispatchSemaphore(value: 0)

  func set(_ rank: Int, _ result: Result<Value, any Error>) {
    results.withLock { $0[rank] = result }
    ended.signal()
  }

  func wait(for count: Int) -> [Result<Value, any Error>] {
    for _ in 0..<count { ended.wait() }
    return results.withLock { results in (0..<count).map { results[$0]! } }
  }
}

extension Result where Failure == any Error {
  /// The failure, where it is one of communication.
  var communicationError: CommunicationError? {
    if case .failure(let error) = self { error as? CommunicationError } else { nil }
  }
}
