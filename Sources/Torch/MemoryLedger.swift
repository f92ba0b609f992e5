import CTorch

/// What memory is for, in an account of a step's memory.
public enum MemoryPurpose: Int32, Sendable, CaseIterable {
  /// Own part of the weights: a float32 master if there is one, and the compute copy where that is another
  /// dtype.
  case weights
  /// Own part of the optimizer's moments; those that rest on the host count while they are on the device.
  case moments
  /// Own part of the float32 gradients.
  case gradientShards
  /// Buffers that gathered units and whole float32 gradients go round in.
  case buffers
  /// What collectives take beside their operands, while they run.
  case collectives
  /// What is kept from forward for backward, the hidden states on their way, and what a forward operator
  /// takes for a moment.
  case activations
  /// Gradients of activations, and what a backward operator takes for a moment.
  case gradients
  /// Gradients of parameters that nothing was added to.
  case parameterGradients
  /// Logits of one chunk and what is computed of them.
  case head
  /// What an update takes for a moment.
  case working

  /// As logs and messages write it, such as `gradient_shards`.
  public var name: String {
    switch self {
    case .weights: "weights"
    case .moments: "moments"
    case .gradientShards: "gradient_shards"
    case .buffers: "buffers"
    case .collectives: "collectives"
    case .activations: "activations"
    case .gradients: "gradients"
    case .parameterGradients: "parameter_gradients"
    case .head: "head"
    case .working: "working"
    }
  }
}

/// An account of tensors that have shapes and no memory: those of ``Device/meta``.
///
/// Operators on such tensors compute nothing. While a ledger is in use on a thread, every tensor that is made
/// there, and what operators of the imagined kind of device take for a moment, counts until it is freed.
/// Confined to the thread that uses it.
public final class MemoryLedger {
  /// Bytes of tensors by what they are for.
  public struct Parts: Sendable, Hashable {
    private let bytes: [Int64]

    fileprivate init(_ bytes: [Int64]) { self.bytes = bytes }

    /// The bytes of one purpose.
    public subscript(purpose: MemoryPurpose) -> Int { Int(bytes[Int(purpose.rawValue)]) }

    /// The sum of all parts.
    public var total: Int { Int(bytes.reduce(0, +)) }
  }

  /// Part of the account: from one call of ``beginMoment()`` to the next.
  public struct Moment: Sendable {
    /// Bytes when they were most.
    public let peak: Parts
    /// Bytes at its end.
    public let live: Parts
  }

  /// The kind of device whose operators' memory is accounted for.
  public let kind: Device.Kind
  private let handle: OpaquePointer

  /// An empty account for devices of a kind.
  public init(imagining kind: Device.Kind) {
    self.kind = kind
    guard
      let handle = ct_ledger_create(Int32(kind.rawValue), Int32(MemoryPurpose.allCases.count))
    else { TensorFailure.stop("ledger", .internal) }
    self.handle = handle
  }

  deinit { ct_ledger_free(handle) }

  /// Runs `body`, whose tensors on ``Device/meta`` count.
  public func use<Result>(_ body: () throws -> Result) rethrows -> Result {
    try withExtendedLifetime(self) {
      ct_ledger_use(handle)
      defer { ct_ledger_use(nil) }
      return try body()
    }
  }

  /// Ends a moment and begins the next one; the first began with the account.
  public func beginMoment() { withExtendedLifetime(self) { ct_ledger_begin_moment(handle) } }

  /// All moments so far, the last one up to now.
  public var moments: [Moment] {
    withExtendedLifetime(self) {
      (0..<ct_ledger_moments(handle)).map { index in
        var peak = [Int64](repeating: 0, count: MemoryPurpose.allCases.count)
        var live = peak
        withExtendedLifetime(self) { ct_ledger_moment(handle, index, &peak, &live) }
        return Moment(peak: Parts(peak), live: Parts(live))
      }
    }
  }
}

/// Runs `body`, whose tensors an account enters under `purpose`.
///
/// Costs nothing worth mentioning where no ledger is in use.
public func withMemory<Result, Failure: Error>(
  for purpose: MemoryPurpose, _ body: () throws(Failure) -> Result
) throws(Failure) -> Result {
  let previous = ct_ledger_purpose(purpose.rawValue)
  defer { _ = ct_ledger_purpose(previous) }
  return try body()
}

extension Tensor {
  /// Enters this tensor's memory under another purpose; nothing where no ledger has it.
  public func useMemory(for purpose: MemoryPurpose) {
    withHandle { ct_tensor_purpose($0, purpose.rawValue) }
  }
}
