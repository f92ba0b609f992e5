import Torch
import XTunerModels
import XTunerParallel

/// The ranks of a run, as one of them sees them: its place, the store where all meet, and the mesh.
final class RunRanks {
  let environment: RankEnvironment
  let mesh: ProcessMesh
  private let store: Store?
  private let timeout: Duration

  /// Meets the other ranks.
  ///
  /// The layout is checked first, then that all ranks have the same configuration, and only then
  /// process groups are made.
  ///
  /// - Throws: `ConfigurationError` for a layout that cannot be, `TrainingError` where ranks differ,
  ///   `CommunicationError` where a rank does not come.
  init(
    _ environment: RankEnvironment, _ configuration: RunConfiguration, model: ModelConfiguration
  ) throws {
    self.environment = environment
    timeout = .seconds(configuration.parallel.timeoutSeconds)
    let layout = try configuration.parallelLayout(worldSize: environment.worldSize, model: model)
    guard environment.worldSize > 1 else {
      store = nil
      mesh = ProcessMesh()
      return
    }
    let store = try Store.tcp(
      host: environment.masterAddress, port: environment.masterPort,
      isServer: environment.hostsStore, timeout: timeout)
    self.store = store
    try Self.compare(configuration, rank: environment.rank, store: store, timeout: timeout)
    mesh = try ProcessMesh(layout, rank: environment.rank, store: store, timeout: timeout)
  }

  /// Whether this rank writes what a run has once: metrics, the log, the chart.
  var isMain: Bool { environment.rank == 0 }
  var rank: Int { environment.rank }
  var count: Int { environment.worldSize }

  /// How many ranks there are and how they are laid out, for the first line of a run.
  var description: String {
    guard count > 1 else { return "" }
    let layout = mesh.layout
    let degrees = [
      ("replicate", layout.replicate), ("shard", layout.shard), ("expert", layout.expert),
      ("expert_tensor", layout.expertTensor), ("sequence", layout.sequence),
    ].filter { $0.1 > 1 }.map { "\($0.0) \($0.1)" }
    return "\(count) ranks (\(degrees.joined(separator: ", "))) of "
  }

  /// Shows progress on rank 0 and nothing elsewhere.
  func reporter(_ logging: LoggingOptions, totalSteps: Int) -> ProgressReporter {
    isMain
      ? ProgressReporter(logging: logging, totalSteps: totalSteps)
      : ProgressReporter(style: .quiet, totalSteps: totalSteps, output: { _ in })
  }

  /// The sum over ranks.
  func sum(_ value: Double) throws -> Double {
    try mesh.world.gatherValues([value], label: "sum").reduce(0) { $0 + $1[0] }
  }

  /// Whether any rank was asked to stop.
  func agreeOnStop(_ request: StopRequest) throws -> Bool {
    guard count > 1 else { return request.isRequested }
    let flags = try mesh.world.gatherValues([request.isRequested ? 1 : 0], label: "stop request")
    return flags.contains { $0[0] != 0 }
  }

  /// Rank 0's configuration is what every rank must have; a rank with another one says what differs.
  private static func compare(
    _ configuration: RunConfiguration, rank: Int, store: Store, timeout: Duration
  ) throws {
    let key = "xtuner/configuration"
    let text = configuration.yaml(commented: false)
    if rank == 0 {
      try store.set(key, Array(text.utf8))
      return
    }
    let first = String(decoding: try store.get(key, timeout: timeout), as: UTF8.self)
    guard first != text else { return }
    let other = try RunConfiguration.parse(first, file: "configuration of rank 0")
    let differences = configuration.differences(from: other).map { "\($0)" }
    throw TrainingError(
      .usage,
      """
      rank \(rank) has another configuration than rank 0: \(differences.joined(separator: "; ")); \
      start all ranks with the same files and --set options
      """)
  }

  /// Runs `body` on this rank and waits for the others; where it failed on any of them, all throw.
  ///
  /// `task` says what is done, for the message of those that did not fail themselves.
  func agree<Result>(_ task: String, _ body: () throws -> Result) throws -> Result {
    let result = Swift.Result { try body() }
    guard count > 1 else { return try result.get() }
    let hasFailed: Double
    if case .failure = result { hasFailed = 1 } else { hasFailed = 0 }
    let flags = try mesh.world.gatherValues([hasFailed], label: task)
    let value = try result.get()
    let failed = flags.indices.filter { flags[$0][0] != 0 }
    guard failed.isEmpty else {
      throw TrainingError(
        .communication,
        """
        \(task): rank \(failed.map(String.init).joined(separator: ", ")) failed; its own message \
        tells why
        """)
    }
    return value
  }

  /// Runs `body` on one rank of each machine first, then on its others: what the first one leaves on
  /// the disk is there for them.
  func oneFirst<Result>(_ task: String, _ body: () throws -> Result) throws -> Result {
    guard environment.localWorldSize > 1 else { return try agree(task, body) }
    if environment.localRank == 0 {
      let result = Swift.Result { try body() }
      try mesh.world.barrier(label: task)
      return try agree(task) { try result.get() }
    }
    try mesh.world.barrier(label: task)
    return try agree(task, body)
  }
}
