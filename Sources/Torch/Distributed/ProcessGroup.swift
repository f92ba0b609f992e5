import CTorch
import Foundation

/// Ranks that exchange tensors, as one of them sees the group.
///
/// All ranks of a group issue the same operations in the same order. Operations run on the group's own
/// threads and, of one group, may overlap. A group is confined to one thread; different groups
/// may be used at once. After a failed operation the group is of no further use: every later one
/// throws the first failure.
public final class ProcessGroup {
  /// What messages call it, such as `expertShard`.
  public let name: String
  /// The global ranks, ascending by place.
  public let ranks: [Int]
  /// This rank's place.
  public let index: Int
  /// Where operations move tensors: host memory for Gloo, a GPU for NCCL, an NPU for HCCL.
  ///
  /// Tensors of other devices travel through copies there, made when an operation is issued and
  /// copied back by its `wait`.
  public let device: Device
  /// The number of ranks.
  public var size: Int { ranks.count }
  /// For tests and demonstrations: no operation is seen as done before it was issued this long ago.
  public var simulatedLatency: Duration = .zero

  /// Nil in a group of one.
  private let handle: GroupHandle?
  private let report: FailureReport?
  /// Who looks after operations that run on a device; nil where this rank waits for them itself.
  private let watch: GroupWatch?
  /// The order of issue of this rank's groups on the device; nil where groups need none.
  private let order: IssueOrder?
  /// Held while another thread issues operations in the place that the program reserved.
  private var turn: IssueTurn?
  private(set) var operationCount = 0
  /// Bytes that all-gathers have brought together so far, the own parts with them.
  package internal(set) var gatheredByteCount = 0
  private var ownFailure: CommunicationError?
  /// Operations that nobody has waited for to their end.
  private var unfinishedCount = 0
  var firstFailure: CommunicationError? { ownFailure ?? watch?.failure }

  /// Who moves a group's tensors.
  enum Transport {
    case gloo
    /// A plug-in for a device, which orders operations by its streams.
    case plugin(CTGroupMaker, String)

    var isPlugin: Bool {
      if case .plugin = self { true } else { false }
    }
  }

  /// Connects this rank to the others of the group, who do the same; waits for them.
  ///
  /// - Parameters:
  ///   - name: What messages call the group.
  ///   - ranks: The global ranks, ascending.
  ///   - rank: This process's.
  ///   - store: The store of all ranks; not used in a group of one.
  ///   - timeout: How long to wait for the others, here and in every operation.
  ///   - device: What this rank computes on. A group of GPUs is NCCL's, one of NPUs is HCCL's where the
  ///     plug-in for it is there; all others are Gloo's.
  ///   - companions: This rank's groups that end with this one, where a device orders operations.
  /// - Throws: `.timeout` with the ranks that did not come.
  public convenience init(
    name: String, ranks: [Int], rank: Int, store: Store, timeout: Duration, device: Device = .cpu,
    companions: DeviceGroups = DeviceGroups()
  ) throws(CommunicationError) {
    let plugin: String? =
      switch device.kind {
      case .cpu: nil
      case .cuda: CUDAPlugin.path(in: Accelerator.programFolder)
      case .privateUse: Ascend.groupPlugin
      }
    var transport = Transport.gloo
    if let plugin, ranks.count > 1 {
      var maker: CTGroupMaker?
      guard ct_plugin_group_maker(plugin, &maker) == .OK, let maker else {
        throw Self.cannotConnect(name, ranks, cause: String(cString: ct_last_error()))
      }
      transport = .plugin(maker, plugin)
    }
    try self.init(
      name: name, ranks: ranks, rank: rank, store: store, timeout: timeout,
      device: plugin == nil ? .cpu : device, transport: transport, companions: companions)
  }

  init(
    name: String, ranks: [Int], rank: Int, store: Store, timeout: Duration, device: Device,
    transport: Transport, companions: DeviceGroups
  ) throws(CommunicationError) {
    precondition(
      zip(ranks, ranks.dropFirst()).allSatisfy { $0 < $1 }, "ranks must ascend, are \(ranks)")
    guard let index = ranks.firstIndex(of: rank) else {
      preconditionFailure("rank \(rank) is none of group \(name)'s ranks \(ranks)")
    }
    self.name = name
    self.ranks = ranks
    self.index = index
    self.device = device
    guard ranks.count > 1 else {
      (handle, report, watch, order) = (nil, nil, nil, nil)
      return
    }
    let board = try FailureBoard.join(name: name, ranks: ranks, index: index, store, timeout)
    var report = FailureReport(name: name, ranks: ranks, timeout: timeout, board: board)
    report.quotesCause = transport.isPlugin
    self.report = report
    var handle: OpaquePointer?
    let (place, count, limit) = (Int32(index), Int32(ranks.count), timeout.wholeMilliseconds)
    let prefix = "\(store.prefix)\(board.prefix)"
    let status = board.store.withHandle {
      switch transport {
      case .gloo:
        ct_group_create(
          $0, "\(prefix)/gloo", place, count, limit, Self.isLoopback(store.host), &handle)
      case .plugin(let maker, _):
        ct_group_create_by(maker, $0, "\(prefix)/device", place, count, limit, name, &handle)
      }
    }
    guard status == .OK, let handle else {
      throw Self.cannotConnect(name, ranks, cause: lastCommunicationCause())
    }
    let own = GroupHandle(handle, isOnDevice: transport.isPlugin)
    self.handle = own
    if case .plugin(_, let plugin) = transport {
      watch = GroupWatch(own, report, companions, plugin: plugin)
      order = companions.order
    } else {
      (watch, order) = (nil, nil)
    }
    // A rank that connected and went again at once would cut off one that is still connecting.
    try barrier(label: "")
  }

  private init(alone rank: Int, name: String) {
    self.name = name
    ranks = [rank]
    device = .cpu
    index = 0
    (handle, report, watch, order) = (nil, nil, nil, nil)
  }

  /// A group of one, without connections.
  public static func single(name: String, rank: Int = 0) -> ProcessGroup {
    ProcessGroup(alone: rank, name: name)
  }

  deinit {
    // An operation that was given up with another group may still be waiting for a rank that is lost.
    if ownFailure != nil || unfinishedCount > 0 { handle?.markBroken() }
    watch?.close()
  }

  /// Ends a group of a device in good order, after the last operation; every rank calls it.
  ///
  /// Without it the group is aborted when nobody has it any more. One whose operations have not ended
  /// stays as it is, and other ranks that do not call it are waited for up to ten seconds.
  public func shutDown() {
    guard let watch, let handle, firstFailure == nil, watch.isDrained() else { return }
    handle.shutDown(within: .seconds(10))
  }

  /// Tells the other ranks why this one takes no more part, with words such as `rank 1 failed: ...`.
  ///
  /// For failures that no operation of the group met: the others would learn only that a rank is gone.
  ///
  /// - Returns: False where the store did not take it within a few seconds.
  @discardableResult
  public func leave(because cause: String) -> Bool {
    guard firstFailure == nil, let board = report?.board else { return true }
    return board.leave(because: cause)
  }

  private static func cannotConnect(
    _ name: String, _ ranks: [Int], cause: String
  ) -> CommunicationError {
    CommunicationError(
      code: .failed, operation: "connect", label: "", group: name, missingRanks: [],
      message: "group \(name) (\(named(ranks: ranks))) could not connect its ranks: \(cause)")
  }

  private static func isLoopback(_ host: String) -> Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  // MARK: Operations

  /// Takes a place in the order in which this rank issues operations on its device, for operations that
  /// another thread will issue; nil where groups need no order.
  ///
  /// To be called by the thread that issues the other groups' operations, at the same point of the
  /// program on every rank.
  public func reserveTurn() -> IssueTurn? { order?.reserve() }

  /// Runs `body`, which issues operations of this group and of no other, in a reserved place.
  ///
  /// It waits until everything before that place has been issued; what comes after it waits for `body`.
  public func inTurn<Result>(_ turn: IssueTurn?, _ body: () throws -> Result) rethrows -> Result {
    turn?.begin()
    self.turn = turn
    defer {
      self.turn = nil
      turn?.end()
    }
    return try body()
  }

  /// Issues an operation on the handles of `tensors`; `body` is not called in a group of one.
  func issue(
    _ name: String, _ label: String, _ tensors: Tensor..., finish: (() -> Void)? = nil,
    _ body: (
      _ group: OpaquePointer, _ tensors: [OpaquePointer],
      _ out: UnsafeMutablePointer<OpaquePointer?>
    ) -> CTStatus
  ) throws(CommunicationError) -> Work {
    if let firstFailure { throw firstFailure }
    operationCount += 1
    let operation = Operation(name: name, label: label, number: operationCount, issued: .now)
    guard let handle else { return Work(operation, of: self, handle: nil, finish: finish) }
    var work: OpaquePointer?
    let ownTurn = turn == nil ? order?.reserve() : nil
    ownTurn?.begin()
    defer { ownTurn?.end() }
    try watch?.enter(operation)
    let status = withExtendedLifetime((handle, tensors)) {
      body(handle.raw, tensors.map(\.handle), &work)
    }
    watch?.leave()
    guard status == .OK, let work else {
      throw fail(operation, cause: lastCommunicationCause())
    }
    watch?.follow(operation, work)
    unfinishedCount += 1
    return Work(operation, of: self, handle: work, finish: finish)
  }

  /// Waits until `work` has ended on this rank, or makes the device's stream wait.
  func wait(for operation: Operation, _ work: OpaquePointer) throws(CommunicationError) {
    try waitForEnd(of: operation, work)
    unfinishedCount -= 1
  }

  private func waitForEnd(
    of operation: Operation, _ work: OpaquePointer
  ) throws(CommunicationError) {
    var storeFailures = 0
    while true {
      var isDone = false
      let patience: Int64 = firstFailure == nil ? FailureBoard.pollMilliseconds : 1
      if ct_work_wait(work, patience, &isDone) != .OK {
        throw fail(operation, cause: lastCommunicationCause())
      }
      if isDone && watch == nil { return }
      // On a device nothing has ended yet, and where it never will the watch knows.
      if let firstFailure { throw firstFailure }
      if isDone { return }
      guard let board = report?.board else { continue }
      // A rank that gave up will not answer; and without the store nobody could say that one did.
      do throws(CommunicationError) {
        if let cause = try board.othersFailure() { throw fail(operation, cause: cause) }
        storeFailures = 0
      } catch {
        if firstFailure != nil { throw error }
        storeFailures += 1
        if storeFailures > 2 { throw fail(operation, cause: error.message) }
      }
    }
  }

  /// Waits on this thread where `wait` makes a stream wait; the time-out is the watch's.
  func waitOnHost(for operation: Operation, _ work: OpaquePointer) throws(CommunicationError) {
    guard watch != nil else { return }
    while true {
      var isDone = false
      guard ct_work_is_done(work, &isDone) == .OK else {
        throw fail(operation, cause: lastCommunicationCause())
      }
      if isDone { break }
      if let firstFailure { throw firstFailure }
      Thread.sleep(forTimeInterval: 0.0001)
    }
    if ct_work_check(work) != .OK { throw fail(operation, cause: lastCommunicationCause()) }
    if let firstFailure { throw firstFailure }
  }

  private func fail(_ operation: Operation, cause: String) -> CommunicationError {
    if let firstFailure { return firstFailure }
    guard let report else { preconditionFailure("a group of one has nobody to lose") }
    if let watch { return watch.fail(operation, cause: cause) }
    let failure = report.failure(of: operation, cause: cause)
    ownFailure = failure
    return failure
  }
}
