import Foundation
import Synchronization

/// The order in which one rank issues the operations of all its groups on a device, whichever thread
/// issues them.
///
/// NCCL's kernels stay on a GPU until those of the other ranks have come. If rank 0 has issued an
/// operation of group A and then one of B, and rank 1 first B's, each GPU may be full of what waits for
/// the other one. So all ranks issue in one order: that of their programs, which is the same on all.
/// An operation of another thread has its place where the program asked for it, not where that thread
/// comes to it.
final class IssueOrder: @unchecked Sendable {  // `condition` guards the other properties
  private let condition = NSCondition()
  private var reservedCount = 0
  /// Places that have come, or were given up, out of order.
  private var endedPlaces: Set<Int> = []
  private var current = 0

  /// Takes the next place.
  func reserve() -> IssueTurn {
    condition.withLock {
      defer { reservedCount += 1 }
      return IssueTurn(self, place: reservedCount)
    }
  }

  /// Waits until all places before this one have ended.
  func begin(_ place: Int) {
    condition.withLock {
      while current < place { condition.wait() }
    }
  }

  func end(_ place: Int) {
    condition.withLock {
      endedPlaces.insert(place)
      while endedPlaces.remove(current) != nil { current += 1 }
      condition.broadcast()
    }
  }
}

/// A place in the order of issue; it ends with the object at the latest.
public final class IssueTurn: Sendable {
  private let order: IssueOrder
  private let place: Int
  private let hasEnded = Atomic<Bool>(false)

  init(_ order: IssueOrder, place: Int) {
    (self.order, self.place) = (order, place)
  }

  deinit { end() }

  /// Waits until all operations that the program asked for before have been issued.
  func begin() { order.begin(place) }

  /// Lets what was asked for after it be issued.
  func end() {
    if !hasEnded.exchange(true, ordering: .relaxed) { order.end(place) }
  }
}
