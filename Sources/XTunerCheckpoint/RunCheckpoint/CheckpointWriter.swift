import Dispatch
import Synchronization

/// Writes run checkpoints on a thread of its own, one at a time and in order.
///
/// A submission returns as soon as the one before it is on the disk, so at most one copy of the
/// weights waits in memory. An error of the background appears at the next call of `submit` or
/// `wait`; a program calls `wait` before it exits, or the last checkpoint may stay incomplete.
public final class CheckpointWriter: Sendable {
  private struct Outcome {
    var latest: RunCheckpoint?
    var error: (any Error)?
  }

  /// Where checkpoints are written.
  public let store: RunCheckpointStore
  private let queue = DispatchQueue(label: "xtuner.checkpoint-writer", qos: .utility)
  private let pending = DispatchGroup()
  private let outcome = Mutex(Outcome())

  /// A writer into a store.
  public init(store: RunCheckpointStore) {
    self.store = store
  }

  /// Hands over a checkpoint to be written, after waiting for the one before.
  ///
  /// - Throws: the error that the one before met; then the new one is not taken, and a further call
  ///   may try it again.
  public func submit(_ contents: RunCheckpointContents) throws {
    try wait()
    pending.enter()
    queue.async {
      let result = Result { try self.store.write(contents) }
      self.outcome.withLock { outcome in
        switch result {
        case .success(let checkpoint): outcome.latest = checkpoint
        case .failure(let error): outcome.error = error
        }
      }
      self.pending.leave()
    }
  }

  /// Waits until everything handed over is on the disk.
  ///
  /// - Returns: the checkpoint written last by this object, nil where there is none.
  /// - Throws: the error that writing met, once.
  @discardableResult
  public func wait() throws -> RunCheckpoint? {
    pending.wait()
    return try outcome.withLock { outcome in
      if let error = outcome.error {
        outcome.error = nil
        throw error
      }
      return outcome.latest
    }
  }

  /// Whether a checkpoint is being written at this moment.
  public var isWriting: Bool { pending.wait(timeout: .now()) == .timedOut }
}
