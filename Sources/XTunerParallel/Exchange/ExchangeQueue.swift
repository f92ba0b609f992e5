import Foundation
import Synchronization
public import Torch

/// Exchanges of one group, on a thread of their own and in the order in which they were asked for.
///
/// An exchange is several collectives and copies one after another: counts, then rows, then another
/// order. On its own thread all of it runs under the computation, and every rank issues the group's
/// collectives in the same order.
public final class ExchangeQueue {
  /// The group whose collectives run here and nowhere else.
  public let group: ProcessGroup
  private let queue: DispatchQueue
  private let instruments: Instruments

  /// A queue for a group.
  public init(_ group: ProcessGroup, instruments: Instruments = Instruments()) {
    self.group = group
    self.instruments = instruments
    queue = DispatchQueue(label: "xtuner.exchange.\(group.name)", qos: .userInitiated)
  }

  /// Starts an exchange.
  ///
  /// The tensors that `body` uses must not be changed until the result was waited for.
  public func submit(
    _ label: String, _ body: @escaping () throws -> [Tensor]
  ) -> PendingTensors {
    let pending = PendingTensors(label: label)
    let job = Job(body: body, pending: pending)
    let (instruments, lane) = (instruments, "\(group.name) group")
    queue.async {
      instruments.record(label, .exchange, lane: lane) { job.run() }
    }
    return pending
  }

  // `body` and its tensors are handed over: the submitter does not touch them until it has waited.
  private final class Job: @unchecked Sendable {
    private let body: () throws -> [Tensor]
    private let pending: PendingTensors

    init(body: @escaping () throws -> [Tensor], pending: PendingTensors) {
      self.body = body
      self.pending = pending
    }

    func run() { pending.finish(Result { try withoutGradients { try body() } }) }
  }
}

/// The result of an exchange that may be under way.
public final class PendingTensors: @unchecked Sendable {
  // `condition` orders the one write before the reads, which makes it safe to share.
  private let condition = NSCondition()
  private var result: Result<[Tensor], any Error>?

  /// What travels, for messages and timelines.
  let label: String

  init(label: String) { self.label = label }

  /// A result that is there.
  public init(_ tensors: [Tensor]) {
    label = ""
    result = .success(tensors)
  }

  /// Waits for the result, or the exchange's error.
  public func wait() throws -> [Tensor] {
    condition.lock()
    while result == nil { condition.wait() }
    let finished = result
    condition.unlock()
    return try finished?.get() ?? []
  }

  /// Whether `wait` returns at once.
  public var isDone: Bool {
    condition.lock()
    defer { condition.unlock() }
    return result != nil
  }

  func finish(_ result: Result<[Tensor], any Error>) {
    condition.lock()
    self.result = result
    condition.broadcast()
    condition.unlock()
  }
}
