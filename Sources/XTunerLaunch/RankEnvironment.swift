import Foundation
import Torch
public import XTunerRun
import XTunerSystem

/// This process's place among the processes of a run, as its launcher tells it.
public struct RankEnvironment: Sendable, Hashable {
  /// Who started the processes.
  public enum Launcher: String, Sendable, Hashable {
    /// Nobody: the process is alone.
    case single
    /// torchrun, or whatever sets the same variables.
    case torchrun
    /// `srun` of Slurm.
    case slurm
    /// `xtuner train --nproc`.
    case local
  }

  /// This process, from 0.
  public var rank: Int
  /// All processes.
  public var worldSize: Int
  /// This process among those of its machine, from 0.
  public var localRank: Int
  /// Processes of this machine.
  public var localWorldSize: Int
  /// Where the processes meet.
  public var masterAddress: String
  /// The port where they meet.
  public var masterPort: Int
  /// Whether the launcher holds the store, so that rank 0 is its client as all others are.
  public var usesAgentStore: Bool
  /// Who started the process.
  public var launcher: Launcher
  /// The process id of a ``Launcher/local`` launcher, with which this process ends.
  public var launcherProcess: Int32?
  /// Cores that the scheduler gave to each process; nil where it said nothing.
  public var coresPerProcess: Int?

  /// A place from its parts.
  public init(
    rank: Int, worldSize: Int, localRank: Int, localWorldSize: Int, masterAddress: String,
    masterPort: Int, usesAgentStore: Bool = false, launcher: Launcher,
    launcherProcess: Int32? = nil, coresPerProcess: Int? = nil
  ) {
    self.rank = rank
    self.worldSize = worldSize
    self.localRank = localRank
    self.localWorldSize = localWorldSize
    self.masterAddress = masterAddress
    self.masterPort = masterPort
    self.usesAgentStore = usesAgentStore
    self.launcher = launcher
    self.launcherProcess = launcherProcess
    self.coresPerProcess = coresPerProcess
  }

  /// A process that is alone; nothing listens on its port.
  public static let single = RankEnvironment(
    rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1, masterAddress: "127.0.0.1",
    masterPort: 0, launcher: .single)

  /// Whether this process has to hold the store that all meet at.
  public var hostsStore: Bool { rank == 0 && worldSize > 1 && !usesAgentStore }

  /// Threads of this process's tensor operations.
  ///
  /// - Parameters:
  ///   - requested: `run.threads`; 0 divides the cores among the processes of the machine.
  ///   - coreCount: Cores that this process may run on; nil asks the system, which knows the quotas of
  ///     containers.
  /// - Returns: At least 1.
  public func threadCount(requested: Int, coreCount: Int? = nil) -> Int {
    guard requested == 0 else { return requested }
    let coreCount = coreCount ?? ProcessorCount.available()
    if let coresPerProcess { return max(1, min(coresPerProcess, coreCount)) }
    return max(1, coreCount / localWorldSize)
  }

  /// Reads the variables of a launcher.
  ///
  /// torchrun's go before Slurm's, since torchrun may itself run under Slurm. In a shell or batch
  /// script of a Slurm job the process is alone; only `srun` makes ranks.
  ///
  /// - Parameter environment: All variables of the process.
  /// - Returns: The place; ``single`` where no launcher left any.
  /// - Throws: Every variable that is missing or unusable, in one error.
  public static func detect(
    _ environment: [String: String]
  ) throws(RankEnvironmentError) -> RankEnvironment {
    let variables = environment.filter { !$0.value.isEmpty }
    if hasTorchrunVariables(variables) { return try torchrun(variables) }
    if isSlurmStep(variables) { return try slurm(variables) }
    let strays = ["MASTER_ADDR", "MASTER_PORT"].filter { variables[$0] != nil }
    guard strays.isEmpty else {
      throw RankEnvironmentError(
        launcher: .torchrun,
        problems: torchrunVariables.filter { variables[$0] == nil }.map { .missing($0) })
    }
    return .single
  }

  /// Whether torchrun, or something like it, has started this process as a rank.
  static func hasTorchrunVariables(_ environment: [String: String]) -> Bool {
    ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"].contains {
      environment[$0]?.isEmpty == false
    }
  }
}

// MARK: - torchrun

extension RankEnvironment {
  static let torchrunVariables = [
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
  ]
  /// Process id of the local launcher, beside torchrun's variables.
  static let launcherVariable = "XTUNER_LAUNCHER_PID"

  private static func torchrun(
    _ environment: [String: String]
  ) throws(RankEnvironmentError) -> RankEnvironment {
    var reader = EnvironmentReader(environment)
    let worldSize = reader.integer("WORLD_SIZE", in: 1...Int.max)
    let localWorldSize = reader.integer("LOCAL_WORLD_SIZE", in: 1...(worldSize ?? Int.max))
    let rank = reader.integer("RANK", in: 0...(worldSize ?? Int.max) - 1)
    let localRank = reader.integer("LOCAL_RANK", in: 0...(localWorldSize ?? Int.max) - 1)
    let address = reader.text("MASTER_ADDR")
    let port = reader.integer("MASTER_PORT", in: 1...65535)
    let usesAgentStore = reader.flag("TORCHELASTIC_USE_AGENT_STORE")
    let launcherProcess = reader.optionalInteger(launcherVariable, in: 1...Int(Int32.max))
    guard let rank, let worldSize, let localRank, let localWorldSize, let address, let port,
      reader.problems.isEmpty
    else { throw RankEnvironmentError(launcher: .torchrun, problems: reader.problems) }
    return RankEnvironment(
      rank: rank, worldSize: worldSize, localRank: localRank, localWorldSize: localWorldSize,
      masterAddress: address, masterPort: port, usesAgentStore: usesAgentStore,
      launcher: launcherProcess == nil ? .torchrun : .local,
      launcherProcess: launcherProcess.map(Int32.init))
  }
}

extension RankEnvironment {
  /// Makes this process end with its local launcher, however that ends; nothing for other launchers.
  ///
  /// To be called first thing in a rank's process.
  ///
  /// - Throws: ``TrainingError`` where the launcher has gone already.
  public func followLauncher() throws(TrainingError) {
    guard let launcherProcess else { return }
    Torch.exitWithParent()
    // The launcher may have ended before the kernel was asked to tell.
    guard getppid() == launcherProcess else {
      throw TrainingError(
        .communication, "rank \(rank): its launcher, process \(launcherProcess), has ended")
    }
  }

  /// Refuses to start local ranks inside a rank.
  ///
  /// - Parameters:
  ///   - processCount: The value of `--nproc`.
  ///   - environment: All variables of the process.
  /// - Throws: ``TrainingError`` that names the variables.
  public static func checkLocalLaunch(
    processCount: Int, _ environment: [String: String]
  ) throws(TrainingError) {
    let set = torchrunVariables.filter { environment[$0]?.isEmpty == false }
    guard set.isEmpty || !hasTorchrunVariables(environment) else {
      let values = set.map { "\($0)=\(environment[$0] ?? "")" }.joined(separator: " ")
      throw TrainingError(
        .usage,
        """
        --nproc \(processCount) starts ranks, but torchrun's variables say that this process is a \
        rank already (\(values)); leave out --nproc, or unset them
        """)
    }
    guard !isSlurmStep(environment) else {
      let values = ["SLURM_PROCID", "SLURM_NTASKS"]
        .map { "\($0)=\(environment[$0] ?? "")" }.joined(separator: " ")
      throw TrainingError(
        .usage,
        """
        --nproc \(processCount) starts ranks, but Slurm's variables say that this process is a \
        rank already (\(values)); leave out --nproc, or start one task with srun --ntasks 1
        """)
    }
  }
}
