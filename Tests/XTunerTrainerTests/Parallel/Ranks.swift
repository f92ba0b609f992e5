import RankThreads
import Torch
import XTunerParallel

/// ``RankThreads/runRanks(_:timeout:_:)``, for all tests of the module.
func runRanks<Result: Sendable>(
  _ count: Int, timeout: Duration = .seconds(60),
  _ body: @escaping @Sendable (_ rank: Int, _ store: Store) throws -> Result
) throws -> [Result] {
  try RankThreads.runRanks(count, timeout: timeout, body)
}

/// ``RankThreads/runMesh(_:timeout:device:_:)``, for all tests of the module.
func runMesh<Result: Sendable>(
  _ layout: ParallelLayout, timeout: Duration = .seconds(60),
  device: @escaping @Sendable (_ rank: Int) -> Device = { _ in .cpu },
  _ body: @escaping @Sendable (ProcessMesh) throws -> Result
) throws -> [Result] {
  try RankThreads.runMesh(layout, timeout: timeout, device: device, body)
}
