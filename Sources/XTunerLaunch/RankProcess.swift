import Foundation
import XTunerRun
import XTunerSystem

/// The process of one rank, a child of the thread that started it.
///
/// `posix_spawn` and not a library's process type: those start children on threads of their own,
/// whose end the kernel would report to the children as their parent's, and leave the process group
/// and the signal mask to chance.
struct RankProcess: Sendable {
  let rank: Int
  let identifier: pid_t
  /// Where it writes; nil for the terminal.
  let log: RankLog?

  /// Starts a process in a process group of its own, so that a Ctrl-C reaches it once: from the
  /// launcher.
  ///
  /// - Throws: ``TrainingError`` with the reason of the system.
  static func start(
    rank: Int, executable: String, arguments: [String], environment: [String: String],
    log: RankLog?
  ) throws -> RankProcess {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    if let log {
      posix_spawn_file_actions_adddup2(&actions, log.descriptor, STDOUT_FILENO)
      posix_spawn_file_actions_adddup2(&actions, log.descriptor, STDERR_FILENO)
    }
    // The store's sockets are the launcher's; a closed one among these is no error.
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
      guard let descriptor = Int32(name), descriptor > STDERR_FILENO else { continue }
      posix_spawn_file_actions_addclose(&actions, descriptor)
    }

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Handlers of the launcher block signals on its threads; SIGHUP stays ignored under nohup.
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for number in [SIGINT, SIGTERM, SIGUSR1, SIGPIPE, SIGTTOU] { sigaddset(&signals, number) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes,
      Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    let variables = environment.map { "\($0.key)=\($0.value)" }.sorted()
    var identifier: pid_t = 0
    let failure = withCStrings(arguments) { arguments in
      withCStrings(variables) { variables in
        posix_spawn(&identifier, executable, &actions, &attributes, arguments, variables)
      }
    }
    guard failure == 0 else {
      throw TrainingError(
        .failure,
        """
        rank \(rank): \(executable) cannot be started: \(String(cString: strerror(failure))); start \
        fewer ranks (--nproc) where processes or memory are limited
        """)
    }
    return RankProcess(rank: rank, identifier: identifier, log: log)
  }

  /// Calls `body` on another thread when the process has ended; it stays to be reaped.
  func waitInBackground(_ body: @escaping @Sendable () -> Void) {
    let identifier = identifier
    Thread.detachNewThread {
      var information = siginfo_t()
      // WNOWAIT: until `reap` nobody else can get this process id, so signals cannot stray.
      while waitid(P_PID, id_t(identifier), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {
      }
      body()
    }
  }

  /// Sends a signal to the process and to what it has started.
  func signal(_ number: Int32) { _ = killpg(identifier, number) }

  /// Waits for the process and forgets it.
  func reap() -> RankEnd.Status {
    var status: Int32 = 0
    while waitpid(identifier, &status, 0) < 0, errno == EINTR {}
    let signal = status & 0x7f
    return signal == 0 ? .exited((status >> 8) & 0xff) : .signaled(signal)
  }

  /// Calls `body` with a null-terminated array of C strings.
  private static func withCStrings<Result>(
    _ texts: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
  ) -> Result {
    let pointers = texts.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    return body(pointers + [nil])
  }
}

/// The log file of a rank other than 0, opened for one launch.
///
/// A run that is resumed appends; a line with the time says where a launch begins.
final class RankLog: Sendable {
  /// Bytes at the end of a log that are searched for an error.
  private static let searchedByteCount = 64 << 10
  /// Lines of an error that are shown at most.
  private static let shownLineCount = 8

  let path: String
  let descriptor: Int32
  /// Where this launch begins.
  private let start: Int

  init(
    _ layout: RunLayout, rank: Int, of worldSize: Int, now: Date = Date()
  ) throws(RunDirectoryError) {
    path = layout.log(ofRank: rank)
    descriptor = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw .system(path: path, action: "open for writing", errorNumber: errno)
    }
    start = Int(lseek(descriptor, 0, SEEK_END))
    let time = now.formatted(Date.ISO8601FormatStyle())
    let header = "\(start == 0 ? "" : "\n")\(time) rank \(rank) of \(worldSize) starts\n"
    if let failure = WholeWrite.write(Array(header.utf8), to: descriptor) {
      close(descriptor)
      throw .system(path: path, action: "write", errorNumber: failure)
    }
  }

  deinit { close(descriptor) }

  /// The last error of this launch, or its last lines where none says `error:`; nil for an empty
  /// log.
  func lastError() -> String? {
    let end = Int(lseek(descriptor, 0, SEEK_END))
    let first = max(start, end - Self.searchedByteCount)
    var bytes = [UInt8](repeating: 0, count: max(end - first, 0))
    let count = pread(descriptor, &bytes, bytes.count, off_t(first))
    guard count > 0 else { return nil }
    let lines = String(decoding: bytes.prefix(count), as: UTF8.self)
      .split(whereSeparator: \.isNewline)
      .dropFirst(first == start ? 1 : 0)
      .filter { !$0.allSatisfy(\.isWhitespace) }
    guard !lines.isEmpty else { return nil }
    let error = lines.lastIndex { $0.hasPrefix("error:") }
    let shown = error.map { lines[$0...].prefix(Self.shownLineCount) } ?? lines.suffix(3)
    return shown.joined(separator: "\n")
  }
}
