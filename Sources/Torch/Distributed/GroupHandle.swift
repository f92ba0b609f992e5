import CTorch
import Foundation
import Synchronization

/// This rank's connections to the others of a group, which several threads may hold.
// The pointer is never changed, and c10d's groups take their own locks where threads end them.
final class GroupHandle: @unchecked Sendable {
  /// How a group goes.
  private enum End {
    /// At once: freeing waits for nobody.
    case atOnce
    /// On a thread of its own, which may have to wait for operations that do not end.
    case beside
  }

  let raw: OpaquePointer
  private let end: Mutex<End>

  /// Connections on a device are taken down beside, unless ``shutDown(within:)`` did that.
  init(_ raw: OpaquePointer, isOnDevice: Bool) {
    self.raw = raw
    end = Mutex(isOnDevice ? .beside : .atOnce)
  }

  /// Freeing waits for operations under way, and those of a broken group end with their time-outs.
  func markBroken() { end.withLock { $0 = .beside } }

  /// Takes connections down together with the other ranks, which may take them `limit`.
  func shutDown(within limit: Duration) {
    let answer = Answer<Bool>()
    Thread.detachNewThread { [self] in answer.set(ct_group_shutdown(raw) == .OK) }
    if answer.wait(for: limit) == true { end.withLock { $0 = .atOnce } }
  }

  deinit {
    guard end.withLock({ $0 }) == .beside else { return ct_group_free(raw) }
    // Nobody else has it any more.
    nonisolated(unsafe) let broken = raw
    Thread.detachNewThread { ct_group_free(broken) }
  }
}
