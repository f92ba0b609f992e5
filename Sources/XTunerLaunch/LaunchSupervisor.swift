import Foundation
public import XTunerRun

/// How all ranks of a launch ended.
public struct LaunchOutcome: Sendable, Equatable {
  /// The exit code of the launcher: that of the first failure.
  public var exitCode: RunExitCode
  /// The cause of the first failure, for a person; nil where there was none.
  public var message: String?
}

/// Decides what happens to the other ranks when one ends, and which failure was the first.
struct LaunchSupervisor {
  private enum Phase: Equatable {
    case running
    /// A rank has failed; the others notice, and one of them may be the cause.
    case settling
    /// The others were told to stop.
    case stopping
    /// Whatever still ran was killed.
    case killed
  }

  private let options: LocalLauncher.Options
  private var processes: [RankProcess] = []
  private var ends: [RankEnd] = []
  private var phase = Phase.running
  private var stopSignal: Int32?
  private var isKilledByUser = false
  /// When something has to happen even if no rank ends.
  private(set) var deadline: ContinuousClock.Instant?

  init(options: LocalLauncher.Options) {
    self.options = options
  }

  var isFinished: Bool { ends.count == processes.count }

  mutating func add(_ process: RankProcess) { processes.append(process) }

  /// Takes notice of an event, or of a deadline where it is nil.
  mutating func handle(_ event: LaunchEvent?, now: ContinuousClock.Instant) {
    switch event {
    case .ended(let rank):
      let end = RankEnd(
        rank: rank, status: processes[rank].reap(),
        isConsequence: phase == .stopping || phase == .killed)
      ends.append(end)
      guard end.isFailure, phase == .running else { return }
      phase = .settling
      deadline = now + options.settlingTime
    case .stop(let number):
      stopSignal = stopSignal ?? number
      signalAll(number)
    case .kill:
      isKilledByUser = true
      kill()
    case nil:
      guard phase == .settling else { return kill() }
      phase = .stopping
      deadline = now + options.gracePeriod
      signalAll(SIGTERM)
      // One that was stopped, and is why the others failed, takes no notice before it goes on.
      signalAll(SIGCONT)
    }
  }

  private mutating func kill() {
    phase = .killed
    deadline = nil
    signalAll(SIGKILL)
  }

  /// Sends a signal to every rank that has not been reaped.
  func signalAll(_ number: Int32) {
    let ended = Set(ends.map(\.rank))
    for process in processes where !ended.contains(process.rank) { process.signal(number) }
  }

  /// Waits for every rank that has not been reaped.
  func reapAll() {
    let ended = Set(ends.map(\.rank))
    for process in processes where !ended.contains(process.rank) { _ = process.reap() }
  }

  /// How the launch ended; to be asked when it has.
  var outcome: LaunchOutcome {
    if isKilledByUser { return LaunchOutcome(exitCode: .interrupted, message: nil) }
    guard let cause = firstFailure else {
      let isStopped = ends.contains { $0.status == .exited(RunExitCode.stopped.rawValue) }
      return LaunchOutcome(exitCode: isStopped ? .stopped : .success, message: nil)
    }
    if let stopSignal, cause.status == .signaled(stopSignal) {
      return LaunchOutcome(
        exitCode: .interrupted, message: "stopped before training began, without a checkpoint")
    }
    return LaunchOutcome(exitCode: cause.exitCode, message: message(for: cause))
  }

  /// The first failure that another rank's failure does not explain.
  private var firstFailure: RankEnd? {
    let failures = ends.filter { $0.isFailure && !$0.isConsequence }
    return failures.first { $0.status != .exited(RunExitCode.communication.rawValue) }
      ?? failures.first
  }

  private func message(for cause: RankEnd) -> String {
    var text = "rank \(cause.rank) of \(processes.count) \(cause.description)"
    if cause.status == .exited(RunExitCode.communication.rawValue) {
      let early = ends.prefix { $0 != cause }.filter { !$0.isFailure }.map { String($0.rank) }
      if !early.isEmpty {
        let ranks = early.count == 1 ? "rank \(early[0])" : "ranks \(early.joined(separator: ", "))"
        text += "; before that \(ranks) ended without an error"
      }
    }
    guard let log = processes[cause.rank].log else {
      return cause.status.isSignal ? text : "\(text); its message is above"
    }
    if let lines = log.lastError() {
      text += "\(lines.hasPrefix("error:") ? "" : "; its last lines"):\n\(lines)"
    }
    return "\(text)\nits log: \(log.path)"
  }
}

/// How the process of a rank ended.
struct RankEnd: Sendable, Equatable {
  /// What the kernel says about it.
  enum Status: Sendable, Equatable {
    case exited(Int32)
    case signaled(Int32)

    var isSignal: Bool {
      if case .signaled = self { return true }
      return false
    }
  }

  var rank: Int
  var status: Status
  /// Whether the launcher had told it to stop before, because of another rank.
  var isConsequence: Bool

  /// A run that was stopped on request, with a checkpoint, has not failed.
  var isFailure: Bool {
    status != .exited(RunExitCode.success.rawValue)
      && status != .exited(RunExitCode.stopped.rawValue)
  }

  /// The code that the launcher ends with.
  var exitCode: RunExitCode {
    switch status {
    case .exited(let code): RunExitCode(rawValue: code) ?? .failure
    case .signaled: .communication
    }
  }

  /// `ended with exit code 3 (training data is missing, broken or empty)`.
  var description: String {
    switch status {
    case .exited(let code):
      let meaning = RunExitCode(rawValue: code)?.meaning ?? "unknown."
      let first = meaning.prefix(1).lowercased()
      return "ended with exit code \(code) (\(first)\(meaning.dropFirst().dropLast()))"
    case .signaled(let number):
      let hint = number == SIGKILL ? "; the kernel does that where memory runs out" : ""
      return "was killed by signal \(number) (\(String(cString: strsignal(number))))\(hint)"
    }
  }
}
