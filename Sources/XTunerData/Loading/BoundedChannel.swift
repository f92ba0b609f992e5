import Dispatch
import Synchronization

/// A queue between threads that holds at most `capacity` elements; both ends wait.
final class BoundedChannel<Element: Sendable>: Sendable {
  private struct State: Sendable {
    var elements: [Element] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let freeSlots: DispatchSemaphore
  private let filledSlots: DispatchSemaphore

  init(capacity: Int) {
    precondition(capacity > 0, "capacity must be positive, is \(capacity)")
    // Counted up from zero: a semaphore may not go away below its initial value.
    freeSlots = DispatchSemaphore(value: 0)
    filledSlots = DispatchSemaphore(value: 0)
    for _ in 0..<capacity {
      freeSlots.signal()
    }
  }

  /// Waits for room and adds an element; false when the channel is closed.
  func push(_ element: Element) -> Bool {
    freeSlots.wait()
    let isOpen = state.withLock { state in
      guard !state.isClosed else { return false }
      state.elements.append(element)
      return true
    }
    if isOpen {
      filledSlots.signal()
    } else {
      // Lets the next waiter see that the channel is closed.
      freeSlots.signal()
    }
    return isOpen
  }

  /// Waits for the next element; nil when the channel is closed and empty.
  func pop() -> Element? {
    filledSlots.wait()
    let element = state.withLock { state in
      state.elements.isEmpty ? nil : state.elements.removeFirst()
    }
    if element == nil {
      filledSlots.signal()
    } else {
      freeSlots.signal()
    }
    return element
  }

  /// Ends the channel: pushes are refused, waiting elements are dropped when `isDiscarding`.
  func close(isDiscarding: Bool) {
    state.withLock { state in
      state.isClosed = true
      if isDiscarding {
        state.elements = []
      }
    }
    freeSlots.signal()
    filledSlots.signal()
  }
}
