import Dispatch
import Foundation
import Synchronization
public import XTunerRun
import XTunerSystem

/// Starts the ranks of a run on this machine and waits for all of them.
///
/// Every rank is a process of its own with the variables that torchrun sets. Rank 0 has the
/// terminal; the others write to a log file each. The first failure ends the rest, and is what the
/// person reads last.
public final class LocalLauncher: Sendable {
  /// What is started, and how.
  public struct Options: Sendable {
    /// Processes to start.
    public var processCount: Int
    /// The program of each; by default this one.
    public var executable = "/proc/self/exe"
    /// Its arguments, without the program's name.
    public var arguments: [String]
    /// Its environment, to which the rank's variables are added.
    public var environment: [String: String]
    /// The port of this process where the ranks meet.
    public var masterPort: Int
    /// Where the ranks' logs go.
    public var layout: RunLayout
    /// From the first failure until the others are told to stop; most end by themselves before,
    /// once they have found out who is missing, and one of them may be the real cause.
    public var settlingTime: Duration = .seconds(5)
    /// From there until what still runs is killed.
    public var gracePeriod: Duration = .seconds(10)

    /// Options with the usual times.
    public init(
      processCount: Int, arguments: [String], environment: [String: String], masterPort: Int,
      layout: RunLayout
    ) {
      self.processCount = processCount
      self.arguments = arguments
      self.environment = environment
      self.masterPort = masterPort
      self.layout = layout
    }
  }

  private let options: Options
  private let events = LaunchEvents()

  /// Prepares a launch; nothing is started yet.
  public init(_ options: Options) {
    precondition(
      options.processCount > 0, "the process count must be positive, is \(options.processCount)")
    self.options = options
  }

  /// Passes a signal that asks for an orderly stop on to all ranks; from any thread.
  public func stop(signalNumber: Int32) { events.post(.stop(signalNumber)) }

  /// Kills all ranks; from any thread.
  public func kill() { events.post(.kill) }

  /// Starts all ranks and waits until all have ended.
  ///
  /// To be called once, on a thread that outlives the ranks: the kernel takes the end of the thread
  /// that started a process for the end of its parent.
  ///
  /// - Returns: How the run ended, with the first failure's cause.
  /// - Throws: ``RunDirectoryError`` where the logs cannot be written, ``TrainingError`` where a
  ///   process cannot be started; none is left running then.
  public func run() throws -> LaunchOutcome {
    try RunDirectory.makeFolders(options.layout.logs)
    var supervisor = LaunchSupervisor(options: options)
    for rank in 0..<options.processCount {
      do {
        supervisor.add(try start(rank: rank))
      } catch {
        supervisor.signalAll(SIGKILL)
        supervisor.reapAll()
        throw error
      }
    }
    while !supervisor.isFinished {
      let event = events.next(until: supervisor.deadline)
      supervisor.handle(event, now: .now)
    }
    return supervisor.outcome
  }

  private func start(rank: Int) throws -> RankProcess {
    // Rank 0 has the terminal, and `log.txt` for what lasts.
    let log = rank == 0 ? nil : try RankLog(options.layout, rank: rank, of: options.processCount)
    let process = try RankProcess.start(
      rank: rank, executable: options.executable, arguments: ["xtuner"] + options.arguments,
      environment: options.environment.merging(variables(rank: rank)) { $1 }, log: log)
    let events = events
    process.waitInBackground { events.post(.ended(rank: rank)) }
    return process
  }

  /// What torchrun sets for a rank, and whose child it is.
  private func variables(rank: Int) -> [String: String] {  // own names
    [
      "RANK": String(rank), "LOCAL_RANK": String(rank),
      "WORLD_SIZE": String(options.processCount),
      "LOCAL_WORLD_SIZE": String(options.processCount),
      "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": String(options.masterPort),
      "TORCHELASTIC_USE_AGENT_STORE": "True",
      RankEnvironment.launcherVariable: String(getpid()),
    ]
  }

  /// The arguments of a rank: those of the launcher without `--nproc`.
  public static func rankArguments(_ arguments: [String]) -> [String] {
    var result: [String] = []
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      if argument == "--" { return result + [argument] + rest }
      if argument == "--nproc" {
        _ = rest.popFirst()
      } else if !argument.hasPrefix("--nproc=") {
        result.append(argument)
      }
    }
    return result
  }
}

/// What a launcher waits for.
enum LaunchEvent: Sendable, Equatable {
  /// A rank's process has ended and can be reaped.
  case ended(rank: Int)
  /// A person or scheduler asked for an orderly stop.
  case stop(Int32)
  /// A person wants all to end at once.
  case kill
}

/// Events from other threads, in the order in which they came.
final class LaunchEvents: Sendable {
  private let queue = Mutex<[LaunchEvent]>([])
  private let count = DispatchSemaphore(value: 0)

  func post(_ event: LaunchEvent) {
    queue.withLock { $0.append(event) }
    count.signal()
  }

  /// The next event; nil when the deadline came first.
  func next(until deadline: ContinuousClock.Instant?) -> LaunchEvent? {
    if let deadline {
      let seconds = max(0, (deadline - .now).seconds)
      guard count.wait(timeout: .now() + seconds) == .success else { return nil }
    } else {
      count.wait()
    }
    return queue.withLock { $0.removeFirst() }
  }
}
