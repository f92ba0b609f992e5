import Foundation
import Synchronization

/// A value that another thread sets.
final class Answer<Value: Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)

  func set(_ value: Value) { self.value.withLock { $0 = value } }

  /// The value; nil where it does not come within `limit`.
  func wait(for limit: Duration) -> Value? {
    poll(for: limit) { value.withLock { $0 } }
  }
}

/// Asks again and again, up to a time: a condition's time-out would go by the wall clock, which may be set.
func poll<Value>(for limit: Duration, every pause: TimeInterval = 0.001, _ ask: () -> Value?)
  -> Value?
{
  let deadline = ContinuousClock.now + limit
  while true {
    if let value = ask() { return value }
    guard ContinuousClock.now < deadline else { return nil }
    Thread.sleep(forTimeInterval: pause)
  }
}
