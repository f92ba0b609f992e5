import Foundation
import Testing

@testable import XTunerRun
@testable import XTunerLaunch

/// Ranks that are shell scripts: `$RANK` tells them apart.
private final class ShellRun: Sendable {
  let root: String
  let launcher: LocalLauncher

  init(
    ranks count: Int, settling: Duration = .milliseconds(300), grace: Duration = .seconds(20),
    root: String? = nil, _ script: String
  ) {
    self.root =
      root
      ?? FileManager.default.temporaryDirectory.appendingPathComponent("launch-\(UUID())").path
    var options = LocalLauncher.Options(
      processCount: count, arguments: ["-c", script],
      environment: ["PATH": "/usr/bin:/bin", "FOLDER": self.root], masterPort: 4711,
      layout: RunLayout(root: self.root))
    options.executable = "/bin/sh"
    options.settlingTime = settling
    options.gracePeriod = grace
    launcher = LocalLauncher(options)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  /// Runs all ranks, on a thread that may wait.
  func run() async throws -> LaunchOutcome {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { [launcher] in
        continuation.resume(with: Result { try launcher.run() })
      }
    }
  }

  func log(_ rank: Int) -> String { RunLayout(root: root).log(ofRank: rank) }

  func text(_ path: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
  }

  /// Waits for a file that a rank writes.
  func wait(for name: String) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !FileManager.default.fileExists(atPath: "\(root)/\(name)") {
      try #require(ContinuousClock.now < deadline, "\(name) did not appear in 20 seconds")
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}

@Suite(.timeLimit(.minutes(1))) struct LocalLauncherTests {
  @Test func ranksGetTorchrunsVariablesAndLogs() async throws {
    let run = ShellRun(
      ranks: 3,
      """
      [ $RANK = 0 ] || env | grep -E '^(RANK|WORLD|LOCAL|MASTER|TORCH|XTUNER|FOLDER)' | sort
      [ $RANK = 0 ] || echo problem >&2
      """)
    #expect(try await run.run() == LaunchOutcome(exitCode: .success, message: nil))
    #expect(!FileManager.default.fileExists(atPath: run.log(0)))
    #expect(run.log(2) == "\(run.root)/logs/rank-00002.log")
    let lines = run.text(run.log(2)).split(separator: "\n").map(String.init)
    #expect(lines[0].hasSuffix("Z rank 2 of 3 starts"))
    #expect(
      Array(lines.dropFirst()) == [
        "FOLDER=\(run.root)", "LOCAL_RANK=2", "LOCAL_WORLD_SIZE=3", "MASTER_ADDR=127.0.0.1",
        "MASTER_PORT=4711", "RANK=2", "TORCHELASTIC_USE_AGENT_STORE=True", "WORLD_SIZE=3",
        "XTUNER_LAUNCHER_PID=\(getpid())", "problem",
      ])
  }

  @Test func aSecondLaunchAppendsAndItsErrorsAreItsOwn() async throws {
    let first = ShellRun(ranks: 2, "[ $RANK = 0 ] || { echo 'error: the first'; exit 3; }")
    _ = try await first.run()
    let second = ShellRun(ranks: 2, root: first.root, "[ $RANK = 0 ] || exit 4")
    let outcome = try await second.run()
    #expect(outcome.exitCode == .model)
    #expect(outcome.message?.contains("the first") == false)
    let text = second.text(second.log(1))
    #expect(text.contains("error: the first"))
    #expect(text.components(separatedBy: "rank 1 of 2 starts").count == 3)
  }

  @Test func theFirstFailureIsTheCauseAndItsErrorIsShown() async throws {
    let run = ShellRun(
      ranks: 4,
      """
      case $RANK in
        2) echo noise; echo 'error: data.train[0].path: no such file' >&2; echo '  a hint'; exit 3;;
        *) sleep 0.1; [ $RANK = 0 ] || echo 'error: rank 2 is lost'; exit 8;;
      esac
      """)
    let outcome = try await run.run()
    #expect(
      outcome
        == LaunchOutcome(
          exitCode: .data,
          message: """
            rank 2 of 4 ended with exit code 3 (training data is missing, broken or empty):
            error: data.train[0].path: no such file
              a hint
            its log: \(run.root)/logs/rank-00002.log
            """))
  }

  @Test func aLostPeerIsNotTheCauseWhenThePeerEndsALittleLater() async throws {
    let run = ShellRun(
      ranks: 3, settling: .seconds(20),
      """
      case $RANK in
        1) echo 'step 7'; sleep 0.3; kill -9 $$;;
        *) exit 8;;
      esac
      """)
    let outcome = try await run.run()
    #expect(outcome.exitCode == .communication)
    let message = try #require(outcome.message)
    #expect(message.hasPrefix("rank 1 of 3 was killed by signal 9 (Killed)"))
    #expect(message.hasSuffix("; its last lines:\nstep 7\nits log: \(run.log(1))"))
  }

  @Test func aRankThatEndsEarlyIsNamedBesideTheLossOfIt() async throws {
    let run = ShellRun(
      ranks: 3,
      """
      case $RANK in
        2) exit 0;;
        1) sleep 0.2; echo 'error: all-gather "layers.3": rank 2 is lost'; exit 8;;
        0) sleep 5;;
      esac
      """)
    let message = try #require(try await run.run().message)
    #expect(
      message == """
        rank 1 of 3 ended with exit code 8 (a rank was lost, timed out or could not be reached; \
        or another one failed, and how is said); before that rank 2 ended without an error:
        error: all-gather "layers.3": rank 2 is lost
        its log: \(run.log(1))
        """)
  }

  @Test func rankZeroHasItsMessageOnTheTerminal() async throws {
    let run = ShellRun(ranks: 2, "[ $RANK = 0 ] && exit 7; sleep 10")
    let outcome = try await run.run()
    #expect(outcome.exitCode == .storage)
    #expect(outcome.message?.hasSuffix("or holds something else); its message is above") == true)
  }

  @Test func theOthersAreToldToStopAndThenKilled() async throws {
    let run = ShellRun(
      ranks: 3, settling: .milliseconds(50), grace: .milliseconds(400),
      """
      case $RANK in
        0) sleep 0.3; exit 5;;
        1) trap 'echo told > $FOLDER/told; exit 3' TERM; while :; do sleep 0.05; done;;
        2) trap '' TERM; while :; do sleep 0.05; done;;
      esac
      """)
    let start = ContinuousClock.now
    #expect(try await run.run().exitCode == .nonFinite)
    #expect(run.text("\(run.root)/told") == "told\n")
    #expect(ContinuousClock.now - start < .seconds(10))
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func aStopReachesEveryRankOnce(number: Int32) async throws {
    let name = number == SIGINT ? "INT" : "TERM"
    let run = ShellRun(
      ranks: 3,
      """
      trap 'echo x >> $FOLDER/got-$RANK; sleep 0.2; exit 75' \(name)
      touch $FOLDER/ready-$RANK
      while :; do sleep 0.05; done
      """)
    async let outcome = run.run()
    for rank in 0..<3 { try await run.wait(for: "ready-\(rank)") }
    run.launcher.stop(signalNumber: number)
    #expect(try await outcome == LaunchOutcome(exitCode: .stopped, message: nil))
    for rank in 0..<3 { #expect(run.text("\(run.root)/got-\(rank)") == "x\n") }
  }

  @Test func aStopBeforeTrainingIsNoFailureOfARank() async throws {
    let run = ShellRun(ranks: 2, "touch $FOLDER/ready-$RANK; exec sleep 20")
    async let outcome = run.run()
    for rank in 0..<2 { try await run.wait(for: "ready-\(rank)") }
    run.launcher.stop(signalNumber: SIGTERM)
    #expect(
      try await outcome
        == LaunchOutcome(
          exitCode: .interrupted, message: "stopped before training began, without a checkpoint"))
  }

  @Test func aKillEndsRanksThatDoNotListen() async throws {
    let run = ShellRun(
      ranks: 2, "trap '' INT TERM; touch $FOLDER/ready-$RANK; while :; do sleep 0.05; done")
    async let outcome = run.run()
    for rank in 0..<2 { try await run.wait(for: "ready-\(rank)") }
    run.launcher.stop(signalNumber: SIGINT)
    run.launcher.kill()
    #expect(try await outcome == LaunchOutcome(exitCode: .interrupted, message: nil))
  }

  @Test func ranksInheritNeitherDescriptorsNorBlockedSignals() async throws {
    let opened = open("/dev/null", O_RDONLY)
    // A number that nothing else of this process gets.
    let held = fcntl(opened, F_DUPFD, 307)
    defer {
      close(opened)
      close(held)
    }
    let run = ShellRun(
      ranks: 2,
      """
      ls /proc/$$/fd > $FOLDER/descriptors-$RANK
      [ $RANK = 0 ] || readlink /proc/$$/fd/0
      [ $RANK = 0 ] || exec grep SigBlk /proc/self/status
      """)
    #expect(try await run.run().exitCode == .success)
    for rank in 0..<2 {
      let names = run.text("\(run.root)/descriptors-\(rank)").split(separator: "\n")
      #expect(names.contains("2") && !names.contains("\(held)"))
    }
    let lines = run.text(run.log(1)).split(separator: "\n").dropFirst()
    #expect(lines.joined(separator: "|") == "/dev/null|SigBlk:\t0000000000000000")
  }

  @Test func aProgramThatIsMissingIsAnErrorAndNothingRuns() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("launch-\(UUID())")
    defer { try? FileManager.default.removeItem(at: folder) }
    var options = LocalLauncher.Options(
      processCount: 2, arguments: [], environment: [:], masterPort: 1,
      layout: RunLayout(root: folder.path))
    options.executable = "/nowhere/xtuner"
    let error = #expect(throws: TrainingError.self) { try LocalLauncher(options).run() }
    #expect(error?.description.contains("/nowhere/xtuner cannot be started: No such file") == true)
  }

  @Test(arguments: [
    (["train", "a.yaml", "--nproc", "4"], ["train", "a.yaml"]),
    (["train", "--nproc=4", "a.yaml", "--json"], ["train", "a.yaml", "--json"]),
    (["train", "--nproc", "2", "--nproc", "3", "a"], ["train", "a"]),
    (["train", "--nproc", "2", "--", "--nproc=3"], ["train", "--", "--nproc=3"]),
  ])
  func ranksHaveTheSameArgumentsWithoutTheirNumber(given: [String], expected: [String]) {
    #expect(LocalLauncher.rankArguments(given) == expected)
  }
}
