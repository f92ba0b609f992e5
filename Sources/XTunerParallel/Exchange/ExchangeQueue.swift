import Foundation
import Synchronization
public import Torch

/// Exchanges of one group, on a thread of their own and in the order in which they were asked for.
///
/// An exchange is several collectives and copies one after another: counts, then rows, then another
/// order. On its own thread all of it runs under the computation, and every rank issues the group's
/// collectives in the same order; on a device also between those of other groups, where the exchange
/// was asked for. On a device all of it goes to a stream of the queue's own, which
/// starts after what the submitter had issued, and which the stream of whoever takes the result waits
/// for.
public final class ExchangeQueue {
  /// The group whose collectives run here and nowhere else.
  public let group: ProcessGroup
  private let queue: DispatchQueue
  private let stream: DeviceStream
  private let device: Device
  private let instruments: Instruments

  /// A queue for a group, for tensors of `device`.
  public init(
    _ group: ProcessGroup, device: Device = .cpu, instruments: Instruments = Instruments()
  ) {
    self.group = group
    self.device = device
    stream = DeviceStream(on: device)
    self.instruments = instruments
    queue = DispatchQueue(label: "xtuner.exchange.\(group.name)", qos: .userInitiated)
  }

  /// Starts an exchange.
  ///
  /// The tensors that `body` uses must not be changed until the result was waited for. Those that it
  /// makes and that others use have to be among its results.
  public func submit(
    _ label: String, _ body: @escaping () throws -> [Tensor]
  ) -> PendingTensors {
    let pending = PendingTensors(label: label)
    let (group, turn) = (group, group.reserveTurn())
    let job = Job(
      body: { try group.inTurn(turn, body) }, pending: pending, stream: stream, device: device,
      start: DeviceEvent(after: .current(on: device)))
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
    private let stream: DeviceStream
    private let device: Device
    private let start: DeviceEvent

    init(
      body: @escaping () throws -> [Tensor], pending: PendingTensors, stream: DeviceStream,
      device: Device, start: DeviceEvent
    ) {
      (self.body, self.pending, self.stream) = (body, pending, stream)
      (self.device, self.start) = (device, start)
    }

    func run() {
      let result = stream.withCurrent {
        stream.wait(for: start)
        return Result { try withoutGradients { try body() } }
      }
      guard device.kind != .cpu else { return pending.finish(result) }
      pending.finish(
        result, .init(device: device, event: DeviceEvent(after: stream), inputs: body))
    }
  }
}

/// The result of an exchange that may be under way.
public final class PendingTensors: @unchecked Sendable {
  // `condition` orders the one write before the reads, which makes it safe to share.
  private let condition = NSCondition()
  private var result: Result<[Tensor], any Error>?
  private var work: DeviceWork?

  /// What a device may still be doing for the result.
  struct DeviceWork {
    let device: Device
    let event: DeviceEvent
    /// Holds the tensors that are read: their memory belongs to another stream, which must have waited
    /// for the event before they are freed.
    var inputs: (() throws -> [Tensor])?
  }

  /// What travels, for messages and timelines.
  let label: String

  init(label: String) { self.label = label }

  /// A result that is there.
  public init(_ tensors: [Tensor]) {
    label = ""
    result = .success(tensors)
  }

  deinit {
    // Nobody took the result: what was read must still not be freed before.
    if work?.inputs != nil { followWork() }
  }

  /// Waits for the result, or the exchange's error.
  ///
  /// The host waits until the exchange has been issued; for a device's part of it only this thread's
  /// current stream waits.
  public func wait() throws -> [Tensor] {
    condition.lock()
    defer { condition.unlock() }
    while result == nil { condition.wait() }
    let tensors = try result?.get() ?? []
    if let stream = followWork() {
      // They were made for the exchange's stream, and are freed in the order of this one.
      for tensor in tensors { tensor.keepMemory(for: stream) }
    }
    return tensors
  }

  /// Lets the current stream wait for the device's part; the stream, if there is one.
  @discardableResult
  private func followWork() -> DeviceStream? {
    guard let work else { return nil }
    let stream = DeviceStream.current(on: work.device)
    stream.wait(for: work.event)
    self.work?.inputs = nil
    return stream
  }

  /// Whether `wait` returns at once.
  public var isDone: Bool {
    condition.lock()
    defer { condition.unlock() }
    return result != nil
  }

  func finish(_ result: Result<[Tensor], any Error>, _ work: DeviceWork? = nil) {
    condition.lock()
    self.result = result
    self.work = work
    condition.broadcast()
    condition.unlock()
  }
}
