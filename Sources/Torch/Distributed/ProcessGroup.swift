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

  let timeout: Duration
  /// Nil in a group of one.
  private let handle: OpaquePointer?
  private let board: FailureBoard?
  private(set) var operationCount = 0
  /// Bytes that all-gathers have brought together so far, the own parts with them.
  package internal(set) var gatheredByteCount = 0
  private(set) var firstFailure: CommunicationError?

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
  /// - Throws: `.timeout` with the ranks that did not come.
  public init(
    name: String, ranks: [Int], rank: Int, store: Store, timeout: Duration, device: Device = .cpu
  ) throws(CommunicationError) {
    precondition(
      zip(ranks, ranks.dropFirst()).allSatisfy { $0 < $1 }, "ranks must ascend, are \(ranks)")
    guard let index = ranks.firstIndex(of: rank) else {
      preconditionFailure("rank \(rank) is none of group \(name)'s ranks \(ranks)")
    }
    self.name = name
    self.ranks = ranks
    self.index = index
    self.timeout = timeout
    let plugin = device.kind == .privateUse ? Ascend.groupPlugin : nil
    self.device = plugin == nil && device.kind != .cuda ? .cpu : device
    guard ranks.count > 1 else {
      handle = nil
      board = nil
      return
    }
    let board = try FailureBoard.join(name: name, ranks: ranks, index: index, store, timeout)
    self.board = board
    var handle: OpaquePointer?
    let (place, count) = (Int32(index), Int32(ranks.count))
    let status = board.store.withHandle {
      if let plugin {
        return ct_group_create_hccl(
          plugin, $0, "\(store.prefix)\(board.prefix)/hccl", place, count,
          timeout.wholeMilliseconds, &handle)
      }
      if device.kind == .cuda {
        return ct_group_create_nccl(
          $0, "\(store.prefix)\(board.prefix)/nccl", place, count, timeout.wholeMilliseconds, name,
          &handle)
      }
      return ct_group_create(
        $0, "\(store.prefix)\(board.prefix)/gloo", place, count,
        timeout.wholeMilliseconds, Self.isLoopback(store.host), &handle)
    }
    guard status == .OK, let handle else {
      throw CommunicationError(
        code: .failed, operation: "connect", label: "", group: name, missingRanks: [],
        message: """
          group \(name) (\(named(ranks: ranks))) could not connect its ranks: \
          \(lastCommunicationCause())
          """)
    }
    self.handle = handle
    // A rank that connected and went again at once would cut off one that is still connecting.
    try barrier(label: "")
  }

  private init(alone rank: Int, name: String) {
    self.name = name
    ranks = [rank]
    device = .cpu
    index = 0
    timeout = .zero
    handle = nil
    board = nil
  }

  /// A group of one, without connections.
  public static func single(name: String, rank: Int = 0) -> ProcessGroup {
    ProcessGroup(alone: rank, name: name)
  }

  deinit {
    guard let handle else { return }
    guard firstFailure != nil else { return ct_group_free(handle) }
    // Freeing waits for operations under way, and those of a broken group end with their time-outs.
    nonisolated(unsafe) let broken = handle
    Thread.detachNewThread { ct_group_free(broken) }
  }

  private static func isLoopback(_ host: String) -> Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  // MARK: Operations

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
    let status = withExtendedLifetime(tensors) { body(handle, tensors.map(\.handle), &work) }
    guard status == .OK, let work else {
      throw fail(operation, cause: lastCommunicationCause())
    }
    return Work(operation, of: self, handle: work, finish: finish)
  }

  /// Waits until `work` has ended on this rank.
  func wait(for operation: Operation, _ work: OpaquePointer) throws(CommunicationError) {
    var storeFailures = 0
    while true {
      var isDone = false
      let patience: Int64 = firstFailure == nil ? FailureBoard.pollMilliseconds : 1
      if ct_work_wait(work, patience, &isDone) != .OK {
        throw fail(operation, cause: lastCommunicationCause())
      }
      if isDone { return }
      if let firstFailure { throw firstFailure }
      guard let board else { continue }
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

  private func fail(_ operation: Operation, cause: String) -> CommunicationError {
    if let firstFailure { return firstFailure }
    let elapsed = operation.issued.duration(to: .now)
    let silence = board?.report(operation, cause: cause) ?? .nobody
    let start = """
      \(operation.description) in group \(name) (\(named(ranks: ranks))) failed after \
      \(elapsed.inSeconds):
      """
    let code: CommunicationError.Code
    var missing: [Int] = []
    let message: String
    switch silence {
    case .places(let places):
      missing = places.map { ranks[$0] }
      code = elapsed >= timeout ? .timeout : .peerLost
      let whose = missing.count == 1 ? "its log" : "their logs"
      message = """
        \(start) \(named(ranks: missing)) did not take part; look at \(whose) for the first error
        """
    case .nobody:
      code = elapsed >= timeout ? .timeout : .failed
      message = "\(start) \(cause)"
    case .storeIsGone:
      code = .peerLost
      message = """
        \(start) the process that hosts the store is gone or stands still, so ranks cannot say \
        who is missing; look at the log of rank 0 or of the launcher (\(cause))
        """
    }
    let failure = CommunicationError(
      code: code, operation: operation.name, label: operation.label, group: name,
      missingRanks: missing, message: message)
    firstFailure = failure
    return failure
  }
}
