import CTorch
import Foundation
import Synchronization

/// Looks after the operations of a group that run on a device.
///
/// There they only stand in line, and the host goes on: no thread waits for one of them, but all that read
/// a result wait for those before it. An operation whose other rank is lost would keep the device for ever.
/// So a thread of its own looks whether the oldest one has ended, failed, taken too long, or another rank has
/// given up, and then ends all groups of this rank. It does the same for a call that does not return, as
/// where the first operation connects the ranks and one of them is lost; where it does not return even then,
/// nobody could throw, and the process ends.
final class GroupWatch: Sendable {
  private static let pause = 0.1
  /// An operation that takes no longer is no reason to ask the store whether another rank gave up.
  private static let patience = Duration.seconds(2)
  /// How long a call may take to return after this rank began to end its groups.
  private static let grace = Duration.seconds(10)
  /// Operations that the host has the results of are seen as ended a little later.
  private static let lag = Duration.seconds(2)

  private struct State {
    var pending: [(operation: Operation, outcome: Outcome)] = []
    /// When the oldest one became the oldest: the host may issue a whole step ahead.
    var oldestSince = ContinuousClock.now
    /// What the host is just issuing.
    var calling: Operation?
    var failure: CommunicationError?
    var failedAt = ContinuousClock.now
    var isClosed = false
  }

  private enum Finding {
    case nothing
    case waiting(Operation)
    case failed(Operation, cause: String)
  }

  /// Whether an operation has ended; without its tensors.
  private final class Outcome: @unchecked Sendable {
    private let raw: OpaquePointer
    init(_ raw: OpaquePointer) { self.raw = raw }
    deinit { ct_outcome_free(raw) }

    /// Whether it has ended, or why it failed.
    func check() -> Result<Bool, CommunicationCause> {
      var isEnded = false
      guard withExtendedLifetime(self, { ct_outcome_check(raw, &isEnded) }) == .OK else {
        return .failure(CommunicationCause(text: lastCommunicationCause()))
      }
      return .success(isEnded)
    }
  }

  private struct CommunicationCause: Error { let text: String }

  let plugin: String
  private let group: GroupHandle
  private let report: FailureReport
  private let companions: DeviceGroups
  private let state = Mutex(State())

  init(
    _ group: GroupHandle, _ report: FailureReport, _ companions: DeviceGroups, plugin: String
  ) {
    self.group = group
    self.report = report
    self.companions = companions
    self.plugin = plugin
    companions.add(self)
    Thread.detachNewThread { [weak self] in
      while self?.look() == true { Thread.sleep(forTimeInterval: Self.pause) }
    }
  }

  /// The first failure of this rank's groups.
  var failure: CommunicationError? { state.withLock { $0.failure } }

  /// The host begins to issue an operation, which it has until `leave`; not after a failure, when nobody
  /// would look after it.
  func enter(_ operation: Operation) throws(CommunicationError) {
    let failure = state.withLock { state in
      if state.failure == nil { state.calling = operation }
      return state.failure
    }
    if let failure { throw failure }
  }

  func leave() { state.withLock { $0.calling = nil } }

  /// Looks after an operation until it has ended.
  func follow(_ operation: Operation, _ work: OpaquePointer) {
    var outcome: OpaquePointer?
    torchCall("outcome") { ct_work_outcome(work, &outcome) }
    guard let outcome else { return }
    let own = Outcome(outcome)
    state.withLock { state in
      if state.pending.isEmpty { state.oldestSince = .now }
      state.pending.append((operation, own))
    }
  }

  /// Whether all operations have ended well, for which it waits a little.
  func isDrained() -> Bool {
    poll(for: Self.lag, every: 0.01) {
      state.withLock { state in
        guard state.failure == nil else { return false }
        return switch Self.oldest(&state) {
        case .nothing: true
        case .waiting: nil
        case .failed: false
        }
      }
    } ?? false
  }

  /// Ends the watch; the group is given up.
  func close() {
    state.withLock { state in
      state.isClosed = true
      state.pending = []
    }
    companions.remove(self)
  }

  /// One look; false when there is nothing more to look after.
  private func look() -> Bool {
    let (isClosed, failure, failedAt, calling) = state.withLock {
      ($0.isClosed, $0.failure, $0.failedAt, $0.calling)
    }
    if isClosed { return false }
    if let failure {
      guard calling != nil else { return false }
      guard failedAt.duration(to: .now) >= Self.grace else { return true }
      companions.abandon(failure)
      return false
    }
    switch state.withLock({ Self.oldest(&$0) }) {
    case .nothing: if let calling { look(at: calling, "its call did not return") }
    case .failed(let operation, let cause): _ = fail(operation, cause: cause)
    case .waiting(let operation): look(at: operation, "it did not end")
    }
    return true
  }

  private func look(at operation: Operation, _ what: String) {
    let elapsed = operation.issued.duration(to: .now)
    if elapsed >= report.timeout {
      _ = fail(operation, cause: "\(what) within the time-out")
    } else if elapsed >= Self.patience, let cause = try? report.board?.othersFailure() {
      _ = fail(operation, cause: cause)
    }
  }

  /// Forgets what has ended.
  private static func oldest(_ state: inout State) -> Finding {
    while let (operation, outcome) = state.pending.first {
      switch outcome.check() {
      case .success(false): return .waiting(operation.begun(state.oldestSince))
      case .success(true):
        state.pending.removeFirst()
        state.oldestSince = .now
      case .failure(let cause):
        return .failed(operation.begun(state.oldestSince), cause: cause.text)
      }
    }
    return .nothing
  }

  /// Finds out who is missing and ends all groups of this rank; the first failure of all of them.
  func fail(_ operation: Operation, cause: String) -> CommunicationError {
    companions.breakDown(self) { report.failure(of: operation, cause: cause) }
  }

  /// Takes over a failure: no result that is read from now on is a result.
  func note(_ failure: CommunicationError) {
    state.withLock { state in
      guard state.failure == nil else { return }
      (state.failure, state.failedAt) = (failure, .now)
    }
  }

  /// Tells the others of the group and ends what is under way.
  func end(with failure: CommunicationError) {
    report.board?.tell(cause: failure.message)
    group.markBroken()
    // To end a group may itself wait for ever, on a device that does not answer.
    let group = group
    Thread.detachNewThread { withExtendedLifetime(group) { _ = ct_group_abort(group.raw) } }
  }
}
