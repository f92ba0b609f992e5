import CTorch
import Foundation

/// What an operation is called in messages, and when it began.
struct Operation: Sendable {
  let name: String
  let label: String
  /// From 1, the same on all ranks of the group.
  let number: Int
  let issued: ContinuousClock.Instant

  /// The same, for time-outs: it cannot begin on a device before those ahead of it have ended.
  func begun(_ time: ContinuousClock.Instant) -> Operation {
    Operation(name: name, label: label, number: number, issued: max(issued, time))
  }

  var description: String { label.isEmpty ? name : "\(name) of \(label)" }
}

/// An operation among ranks that may be under way; it keeps its tensors alive.
///
/// Its tensors must not be read, changed or taken away before `wait` returned.
public final class Work {
  private let operation: Operation
  private let group: ProcessGroup
  private let latency: Duration
  private var handle: OpaquePointer?
  /// What this rank does with what came, on the thread that waits.
  private var finish: (() -> Void)?

  init(
    _ operation: Operation, of group: ProcessGroup, handle: OpaquePointer?, finish: (() -> Void)?
  ) {
    self.operation = operation
    self.group = group
    self.latency = group.simulatedLatency
    self.handle = handle
    self.finish = finish
  }

  deinit {
    if let handle { ct_work_free(handle) }
  }

  /// Waits until the operation has ended on this rank; later calls return at once.
  ///
  /// - Throws: `.timeout` or `.peerLost` with the ranks that did not take part.
  ///
  /// Where operations run on a device, its current stream waits and this thread does not, unless `onHost` asks for it;
  /// a failure then shows in a later operation, or where values are read: ``ProcessGroup/gatherValues(_:label:)``.
  public func wait(onHost: Bool = false) throws(CommunicationError) {
    if let handle {
      try group.wait(for: operation, handle)
      if onHost { try group.waitOnHost(for: operation, handle) }
      ct_work_free(handle)
      self.handle = nil
    }
    if latency > .zero {
      let remaining = ContinuousClock.now.duration(to: operation.issued + latency)
      if remaining > .zero { Thread.sleep(forTimeInterval: remaining / .seconds(1)) }
    }
    finish?()
    finish = nil
  }

  /// Whether `wait` returns, or throws, without waiting for others.
  public var isDone: Bool {
    guard operation.issued.duration(to: .now) >= latency else { return false }
    guard let handle else { return true }
    var isDone = false
    // What failed is over: `wait` says why.
    return withExtendedLifetime(self) { ct_work_is_done(handle, &isDone) } != .OK || isDone
  }
}
