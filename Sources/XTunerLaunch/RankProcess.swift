import Foundation
import XTunerRun

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
