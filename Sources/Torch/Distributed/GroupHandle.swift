import CTorch
import Foundation
import Synchronization

/// This rank's connections to the others of a group, which several threads may hold.
// The pointer is never changed, and c10d's groups take their own locks where threads end them.
final class GroupHandle: @unchecked Sendable {
  let raw: OpaquePointer
  /// Whether freeing may have to wait for operations that do not end, and has a thread of its own.
  private let mayWait: Mutex<Bool>

  /// Connections on a device may have to, unless ``shutDown(within:)`` took them down.
  init(_ raw: OpaquePointer, isOnDevice: Bool) {
    self.raw = raw
    mayWait = Mutex(isOnDevice)
  }

  /// Freeing waits for operations under way, and those of a broken group end with their time-outs.
  func markBroken() { mayWait.withLock { $0 = true } }

  /// Takes connections down together with the other ranks, which may take them `limit`.
  func shutDown(within limit: Duration) {
    let answer = Answer<Bool>()
    Thread.detachNewThread { [self] in
      answer.set(withExtendedLifetime(self) { ct_group_shutdown(raw) } == .OK)
    }
    if answer.wait(for: limit) == true { mayWait.withLock { $0 = false } }
  }

  deinit {
    guard mayWait.withLock({ $0 }) else { return ct_group_free(raw) }
    // Nobody else has it any more.
    nonisolated(unsafe) let broken = raw
    Thread.detachNewThread { ct_group_free(broken) }
  }
}
