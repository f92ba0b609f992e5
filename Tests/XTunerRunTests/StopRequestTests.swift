import Foundation
import Synchronization
import Testing

@testable import XTunerRun

@Suite(.serialized) struct StopRequestTests {
  /// Waits for a condition that another thread makes true.
  private func wait(for condition: () -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while !condition() {
      try #require(ContinuousClock.now < deadline, "nothing happened in 10 seconds")
      await Task.yield()
    }
  }

  @Test func firstRequestStays() {
    let request = StopRequest()
    #expect(!request.isRequested)
    #expect(request.reason == nil)
    #expect(request.request(signalNumber: SIGINT))
    #expect(!request.request(signalNumber: SIGTERM))
    #expect(request.isRequested)
    #expect(request.reason == "SIGINT (Ctrl-C)")
  }

  @Test func signalsAskForAStopAndASecondInterruptExits() async throws {
    let request = StopRequest()
    let messages = Mutex<[String]>([])
    let exitCode = Atomic<Int32>(0)
    let handlers = SignalHandlers(
      request: request, announce: { message in messages.withLock { $0.append(message) } },
      exitAtOnce: { exitCode.store($0, ordering: .relaxed) })
    kill(getpid(), SIGTERM)
    try await wait { request.isRequested }
    #expect(request.signalNumber == SIGTERM)
    #expect(exitCode.load(ordering: .relaxed) == 0)
    kill(getpid(), SIGINT)
    try await wait { exitCode.load(ordering: .relaxed) != 0 }
    #expect(exitCode.load(ordering: .relaxed) == 130)
    #expect(
      messages.withLock { $0 } == ["SIGTERM: stopping after this step, with a checkpoint"])
    withExtendedLifetime(handlers) {}
  }

  @Test func interruptExplainsTheSecondOne() async throws {
    let request = StopRequest()
    let messages = Mutex<[String]>([])
    let handlers = SignalHandlers(
      request: request, announce: { message in messages.withLock { $0.append(message) } },
      exitAtOnce: { _ in })
    kill(getpid(), SIGINT)
    try await wait { messages.withLock { !$0.isEmpty } }
    #expect(
      messages.withLock { $0 } == [
        """
        SIGINT (Ctrl-C): stopping after this step, with a checkpoint; Ctrl-C again stops at once, \
        without it
        """
      ])
    withExtendedLifetime(handlers) {}
  }

  /// What Slurm's `--signal` sends by habit.
  @Test func theFirstUserSignalAsksForAStop() async throws {
    let messages = Mutex<[String]>([])
    let request = StopRequest { message in messages.withLock { $0.append(message) } }
    let handlers = SignalHandlers(request: request)
    kill(getpid(), SIGUSR1)
    try await wait { messages.withLock { !$0.isEmpty } }
    #expect(request.signalNumber == SIGUSR1)
    #expect(
      messages.withLock { $0 } == ["SIGUSR1: stopping after this step, with a checkpoint"])
    withExtendedLifetime(handlers) {}
  }

  @Test func aTerminalThatTakesNoTextKeepsNeitherTheRequestNorASecondInterrupt() async throws {
    let request = StopRequest()
    let terminal = DispatchSemaphore(value: 0)
    let exitCode = Atomic<Int32>(0)
    let handlers = SignalHandlers(
      request: request, announce: { _ in terminal.wait() },
      exitAtOnce: { exitCode.store($0, ordering: .relaxed) })
    kill(getpid(), SIGINT)
    try await wait { request.isRequested }
    kill(getpid(), SIGINT)
    try await wait { exitCode.load(ordering: .relaxed) != 0 }
    #expect(exitCode.load(ordering: .relaxed) == 130)
    terminal.signal()
    withExtendedLifetime(handlers) {}
  }

  @Test func aRunThatDrawsOnTheTerminalTakesTheTellingOver() {
    let first = Mutex<[String]>([])
    let second = Mutex<[String]>([])
    let request = StopRequest { message in first.withLock { $0.append(message) } }
    request.tell("one")
    request.tell(through: { message in second.withLock { $0.append(message) } })
    request.tell("two")
    #expect(first.withLock { $0 } == ["one"])
    #expect(second.withLock { $0 } == ["two"])
  }

  @Test func exitCodesAreDocumented() {
    #expect(RunExitCode.allCases.map(\.rawValue) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 75, 130])
    #expect(RunExitCode.markdown().contains("| 75 | Stopped by a signal after a checkpoint"))
  }
}
