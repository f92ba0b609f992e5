import Foundation
import Testing
import XTunerCheckpoint
import XTunerRun

extension DistributedProcessTests {
  /// Runs whose messages nobody can read any more.
  @Suite struct DistributedOutputTests {
    /// Starts a run behind a shell with `redirection`; `$0` and `$@` are the program's.
    private func start(
      _ run: EngineRun, ranks: Int, through script: String, _ overrides: [String] = []
    ) throws -> EngineProcess {
      try run.start("the shell", ["/bin/sh", "-c", script] + run.command(ranks: ranks, overrides))
    }

    @Test(arguments: [1, 2], [">&- 2>&-", "> /dev/full 2> /dev/full"])
    func aStreamThatIsFullOrClosedDoesNotChangeHowARunEnds(
      ranks: Int, redirection: String
    ) throws {
      try EngineRun.with { run in
        let process = try start(
          run, ranks: ranks, through: "exec \"$0\" \"$@\" \(redirection)",
          ["logging.console=plain"])
        #expect(try process.wait() == 0, "\(process.output)")
        #expect(run.steps(run: "a").map(\.number) == Array(1...9))
        // A message must not go into a file that got the number of a stream.
        let metrics = try String(contentsOfFile: "\(run.folder)/a/metrics.jsonl", encoding: .utf8)
        #expect(
          metrics.split(separator: "\n").allSatisfy { $0.hasPrefix("{\"step\": ") }, "\(metrics)")
        #expect(try run.store(run: "a").latestComplete()?.step == 9)
      }
    }

    @Test(arguments: [1, 2])
    func aReaderThatGoesAwayDoesNotEndTheRun(ranks: Int) throws {
      try EngineRun.with { run in
        let process = try start(
          run, ranks: ranks,
          through:
            "{ \"$0\" \"$@\" 2>&1; echo $? > code; } | head -n 3; while ! [ -s code ]; do sleep 0.1; done",
          ["logging.console=plain"])
        try process.wait()
        let code = try String(contentsOfFile: "\(run.folder)/code", encoding: .utf8)
        #expect(code == "0\n")
        #expect(process.output.split(separator: "\n").count == 3, "\(process.output)")
        #expect(run.steps(run: "a").map(\.number) == Array(1...9))
        #expect(try run.store(run: "a").latestComplete()?.step == 9)
      }
    }

    @Test(arguments: [1, 2])
    func aTerminalThatClosesStopsTheRunWithACheckpoint(ranks: Int) throws {
      try EngineRun.with { run in
        let (terminal, name) = try Self.openTerminal()
        // What the kernel sends when a terminal closes goes to the leader of its session.
        let process = try start(
          run, ranks: ranks,
          through: "exec setsid --wait --ctty \"$0\" \"$@\" <\(name) >\(name) 2>\(name)",
          ["logging.console=auto"] + EngineRun.endless)
        try run.waitForSteps(2, run: "a")
        close(terminal)
        #expect(try process.wait() == RunExitCode.stopped.rawValue, "\(process.output)")
        let done = run.steps(run: "a").count
        let newest = try #require(try run.store(run: "a").latestComplete())
        #expect(newest.step == done)
        try newest.verify()
      }
    }

    /// A pseudo-terminal: its controlling side, and the name of the side of programs.
    private static func openTerminal() throws -> (descriptor: Int32, name: String) {
      // TIOCSPTLCK and TIOCGPTN of Linux's <asm-generic/ioctls.h>, which Swift does not see.
      let (lock, number): (UInt, UInt) = (0x4004_5431, 0x8004_5430)
      let terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
      var isLocked: Int32 = 0
      var place: Int32 = 0
      try #require(
        terminal >= 0 && ioctl(terminal, lock, &isLocked) == 0
          && ioctl(terminal, number, &place) == 0)
      return (terminal, "/dev/pts/\(place)")
    }

    @Test(arguments: [1, 2], [SIGTERM, SIGUSR1])
    func aSignalStopsTheRunWithACheckpointThoughNobodyCanBeTold(ranks: Int, signal: Int32) throws {
      try EngineRun.with { run in
        let process = try start(
          run, ranks: ranks, through: "exec \"$0\" \"$@\" >&- 2> /dev/full", EngineRun.endless)
        try run.waitForSteps(2, run: "a")
        process.signal(signal)
        #expect(try process.wait() == RunExitCode.stopped.rawValue, "\(process.output)")
        #expect(
          try run.store(run: "a").latestComplete()?.step == run.steps(run: "a").count)
      }
    }

    @Test(arguments: ["> /dev/full", ">&-"])
    func aResultThatCannotBeWrittenIsAFailureOfItsCommand(redirection: String) throws {
      try EngineRun.with { run in
        let script = "exec \"$0\" \"$@\" \(redirection)"
        let process = try run.start(
          "the shell",
          ["/bin/sh", "-c", script, run.enginePath, "config", "show", "\(run.folder)/config.yaml"])
        #expect(try process.wait() == RunExitCode.storage.rawValue)
        #expect(
          process.output.contains("error: standard output cannot be written: "),
          "\(process.output)")
      }
    }

    /// Teams share folders with `umask 002`: what one member writes the others may replace.
    @Test func theUmaskDecidesWhoMayWriteAllFiles() throws {
      try EngineRun.with { run in
        let process = try start(
          run, ranks: 2, through: "umask 002; exec \"$0\" \"$@\"",
          ["training.steps=3", "logging.tensorboard=true", "export.at_end=true"])
        #expect(try process.wait() == 0, "\(process.output)")
        for folder in ["a", "cache"] {
          let paths = try #require(
            FileManager.default.enumerator(atPath: "\(run.folder)/\(folder)"))
          var count = 0
          for case let path as String in paths {
            var status = stat()
            try #require(stat("\(run.folder)/\(folder)/\(path)", &status) == 0)
            let isFolder = status.st_mode & S_IFMT == S_IFDIR
            let mode = String(status.st_mode & 0o777, radix: 8)
            #expect(mode == (isFolder ? "775" : "664"), "\(folder)/\(path)")
            count += 1
          }
          #expect(count > 2)
        }
      }
    }

    @Test func aRunThatIsRefusedLeavesNothing() throws {
      try EngineRun.with { run in
        let process = try run.launch(
          ranks: 1, run: "b/a", ["data.train=\(run.folder)/none.jsonl"])
        #expect(try process.wait() == RunExitCode.data.rawValue, "\(process.output)")
        #expect(!FileManager.default.fileExists(atPath: "\(run.folder)/b"))

        let later = try run.launch(
          ranks: 1, run: "a", ["logging.tensorboard=true"],
          resume: "\(run.folder)/none/step-00000003")
        #expect(try later.wait() != 0, "\(later.output)")
        #expect(!FileManager.default.fileExists(atPath: "\(run.folder)/a"))
      }
    }
  }
}
