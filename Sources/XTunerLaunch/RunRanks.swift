import Foundation
import Synchronization
package import Torch
package import XTunerConfiguration
package import XTunerModels
package import XTunerParallel
package import XTunerRun

/// The ranks of a run, as one of them sees them: its place, the store where all meet, and the mesh.
package final class RunRanks {
  package let environment: RankEnvironment
  package let mesh: ProcessMesh
  private let store: Store?
  private let timeout: Duration
  /// What a user should know about devices that differ; nil where there is nothing to say.
  package let deviceNote: String?

  /// Meets the other ranks.
  ///
  /// The layout is checked first, then that all ranks have the same configuration, and only then
  /// process groups are made.
  ///
  /// `deviceModel` is what this rank's device is called, such as `NVIDIA H200`, and
  /// `flightRecordPath` where the last operations on the device are written when one fails.
  ///
  /// - Throws: `ConfigurationError` for a layout that cannot be, `TrainingError` where ranks differ,
  ///   `CommunicationError` where a rank does not come.
  package init(
    _ environment: RankEnvironment, _ configuration: RunConfiguration, model: ModelConfiguration,
    device: Device = .cpu, deviceModel: String = "", flightRecordPath: String? = nil
  ) throws {
    self.environment = environment
    timeout = .seconds(configuration.parallel.timeoutSeconds)
    let layout = try configuration.parallelLayout(worldSize: environment.worldSize, model: model)
    guard environment.worldSize > 1 else {
      store = nil
      mesh = ProcessMesh(device: device)
      deviceNote = nil
      return
    }
    let server = try Store.tcp(
      host: environment.masterAddress, port: environment.masterPort,
      isServer: environment.hostsStore, timeout: timeout)
    // A store of the launcher's own agents may have seen ranks before these.
    let isShared = environment.usesAgentStore && environment.launcher == .torchrun
    let store =
      isShared
      ? try RankMeeting(
        rank: environment.rank, count: environment.worldSize, store: server, timeout: timeout
      ).attend() : server
    self.store = store
    try ConfigurationAgreement(
      rank: environment.rank, count: environment.worldSize, store: store, timeout: timeout
    ).check(configuration)
    mesh = try ProcessMesh(
      layout, rank: environment.rank, store: store, timeout: timeout, device: device,
      flightRecordPath: flightRecordPath)
    deviceNote = Self.note(ofModels: try mesh.world.gatherText(deviceModel, label: "devices"))
  }

  /// Whether this rank writes what a run has once: metrics, the log, the chart.
  package var isMain: Bool { environment.rank == 0 }
  package var rank: Int { environment.rank }
  package var count: Int { environment.worldSize }

  /// How many ranks there are and how they are laid out, for the first line of a run.
  package var description: String {
    guard count > 1 else { return "" }
    let layout = mesh.layout
    let degrees = [
      ("replicate", layout.replicate), ("shard", layout.shard), ("expert", layout.expert),
      ("expert_tensor", layout.expertTensor), ("sequence", layout.sequence),
    ].filter { $0.1 > 1 }.map { "\($0.0) \($0.1)" }
    return "\(count) ranks (\(degrees.joined(separator: ", "))) of "
  }

  /// What a user should know about how tensors travel; nil where there is nothing to say.
  package var exchangeNote: String? {
    guard count > 1, mesh.device.kind != mesh.world.device.kind else {
      switch mesh.world.device.kind {
      case .cpu: return nil
      case .cuda: return "ranks exchange tensors by NCCL, which has not been tried yet"
      case .privateUse: return "ranks exchange tensors by HCCL, which has not been tried yet"
      }
    }
    return "ranks exchange tensors of \(mesh.device.kind) through host memory (Gloo), which is slow"
  }

  /// What a user should know about ranks with different models of devices; nil where all are alike.
  private static func note(ofModels models: [String]) -> String? {
    guard Set(models).count > 1 else { return nil }
    let named = Set(models).sorted().map { model in
      let ranks = models.indices.filter { models[$0] == model }
      return "\(ProcessGroup.name(ranks)): \(model)"
    }
    return """
      ranks have different devices (\(named.joined(separator: "; "))): all wait for the slowest, and what \
      fits is what fits the smallest
      """
  }

  /// Shows progress on rank 0 and nothing elsewhere.
  package func reporter(_ logging: LoggingOptions, totalSteps: Int) -> ProgressReporter {
    isMain
      ? ProgressReporter(logging: logging, totalSteps: totalSteps)
      : ProgressReporter(style: .quiet, totalSteps: totalSteps, output: { _ in })
  }

  /// Tells the others why this rank ends, where they do not know; what the ranks agreed on they know.
  package func leave(because error: any Error) {
    guard !(error is CommunicationError) else { return }
    if let error = error as? TrainingError, error.exitCode == .communication { return }
    let cause = "rank \(rank) failed: \(String("\(error)".prefix(600)))"
    for group in mesh.groups where !group.leave(because: cause) { return }
  }

  /// The sum over ranks.
  package func sum(_ value: Double) throws -> Double {
    try mesh.world.gatherValues([value], label: "sum").reduce(0) { $0 + $1[0] }
  }

  /// Whether any rank was asked to stop.
  ///
  /// The ranks meet here after every step anyway, so what one of them could not write since they last
  /// met is found out here too; `unwritten` is this rank's. All throw then.
  package func agreeOnStop(_ request: StopRequest, unwritten: (any Error)? = nil) throws -> Bool {
    let own: [Double] = [request.isRequested ? 1 : 0, unwritten == nil ? 0 : 1]
    let flags = try mesh.world.gatherValues(own, label: "stop request")
    if flags.contains(where: { $0[1] != 0 }) { try agreeOnFiles(unwritten) }
    return flags.contains { $0[0] != 0 }
  }

  /// Throws on all ranks where one could not write its files.
  package func agreeOnFiles(_ unwritten: (any Error)?) throws {
    try agree("write the run's files") { if let unwritten { throw unwritten } }
  }

  /// Runs `body` on this rank and waits for the others; where it failed on any of them, all throw.
  ///
  /// `task` says what is done, for the message of those that did not fail themselves.
  package func agree<Result>(_ task: String, _ body: () throws -> Result) throws -> Result {
    try mesh.world.agree(task, body)
  }

  /// Runs `body` on one rank of each machine first, then on its others: what the first one leaves on
  /// the disk is there for them.
  ///
  /// However long the first ones take: their ranks meet the others meanwhile, on another thread, so
  /// `body` must not use the mesh.
  package func oneFirst<Result>(_ task: String, _ body: () throws -> Result) throws -> Result {
    // The same on all ranks, whatever their machines' numbers of ranks are.
    guard count > 1 else { return try body() }
    guard environment.localRank == 0 else {
      try Self.meet(in: mesh.world, task) { true }
      return try agree(task, body)
    }
    let isDone = Mutex(false)
    let loss = Mutex<CommunicationError?>(nil)
    let hasMet = DispatchSemaphore(value: 0)
    // Handed over: this thread leaves the group alone until the other one has ended.
    nonisolated(unsafe) let world = mesh.world
    Thread.detachNewThread {
      do throws(CommunicationError) {
        try Self.meet(in: world, task) { isDone.withLock { $0 } }
      } catch {
        loss.withLock { $0 = error }
      }
      hasMet.signal()
    }
    let result = Swift.Result { try body() }
    isDone.withLock { $0 = true }
    hasMet.wait()
    if let loss = loss.withLock({ $0 }) {
      _ = try result.get()
      throw loss
    }
    return try agree(task) { try result.get() }
  }

  /// Meets the other ranks again and again until all are done.
  private static func meet(
    in world: ProcessGroup, _ task: String, isDone: () -> Bool
  ) throws(CommunicationError) {
    while try world.gatherValues([isDone() ? 1 : 0], label: task).contains(where: { $0[0] == 0 }) {
      Thread.sleep(forTimeInterval: 0.02)
    }
  }
}
