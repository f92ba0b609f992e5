import Foundation
import Synchronization
package import Torch
package import XTunerParallel

/// Runs `body` as several ranks that are threads of this process, with a store on a free port.
///
/// Returns the results in the order of ranks; the first error is thrown.
package func runRanks<Result: Sendable>(
  _ count: Int, timeout: Duration = .seconds(60),
  _ body: @escaping @Sendable (_ rank: Int, _ store: Store) throws -> Result
) throws -> [Result] {
  let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: timeout)
  let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
  let group = DispatchGroup()
  for rank in 0..<count {
    group.enter()
    let thread = Thread {
      let result = Swift.Result { try body(rank, store) }
      results.withLock { $0[rank] = result }
      group.leave()
    }
    thread.stackSize = 16 << 20
    thread.start()
  }
  group.wait()
  return try results.withLock { results in
    try (0..<count).map { rank in
      guard let result = results[rank] else { preconditionFailure("rank \(rank) left no result") }
      return try result.get()
    }
  }
}

/// Runs `body` with the mesh of a layout on each of its ranks.
package func runMesh<Result: Sendable>(
  _ layout: ParallelLayout, timeout: Duration = .seconds(60),
  device: @escaping @Sendable (_ rank: Int) -> Device = { _ in .cpu },
  _ body: @escaping @Sendable (ProcessMesh) throws -> Result
) throws -> [Result] {
  if layout.worldSize == 1 { return [try body(ProcessMesh(device: device(0)))] }
  return try runRanks(layout.worldSize, timeout: timeout) { rank, store in
    device(rank).makeCurrent()
    return try body(
      ProcessMesh(layout, rank: rank, store: store, timeout: timeout, device: device(rank)))
  }
}
