import CTorch

/// Which tensor operations a thread performs, how often, and where their time goes.
///
/// libtorch reports every operator, ours included, at its start and end. Without a profile nothing is
/// measured and nothing paid.
public struct OperationProfile {
  /// One operator, or one operator with certain input shapes.
  public struct Operation: Equatable, Sendable {
    /// The name with its namespace, such as `aten::mm` or `xtuner::swiglu`.
    public var name: String
    /// Number types and shapes of the tensors given, such as `bf16[2048, 512] f32[512]`; empty when
    /// not asked for.
    public var shapes: String
    /// How often it was called; its calls of itself below autograd do not count.
    public var callCount: Int
    /// Seconds in it, without the operators that it calls.
    public var seconds: Double
    /// Seconds in it with the operators that it calls.
    public var totalSeconds: Double
    /// Floating-point operations, 2 a multiply-add; nil where no rule is known.
    public var flops: Double?
    /// Bytes of inputs and outputs, each once, twice where updated in place: at least what is moved.
    public var byteCount: Double
  }

  /// The operations, most seconds first.
  public var operations: [Operation]
  /// Blocks of tensor memory taken.
  public var allocationCount: Int
  /// Bytes of tensor memory taken, in all.
  public var allocatedByteCount: Int
  /// The most bytes held at a time beyond those at the start.
  public var peakByteCount: Int

  /// Runs `body` and records the operations of this thread.
  ///
  /// A thread has at most one profile at a time. Operations that `body` starts on other threads are
  /// missing; threads inside an operation are part of it.
  public static func record<Result>(
    byShape: Bool = false, _ body: () throws -> Result
  ) rethrows -> (result: Result, profile: OperationProfile) {
    var handle: OpaquePointer?
    torchCall("profile_start") { ct_profile_start(byShape, &handle) }
    guard let handle else { preconditionFailure("a profile that started has a handle") }
    defer { ct_profile_free(handle) }
    let result: Result
    do {
      defer { torchCall("profile_stop") { ct_profile_stop(handle) } }
      result = try body()
    }
    return (result, OperationProfile(handle))
  }

  private init(_ handle: OpaquePointer) {
    operations = (0..<ct_profile_operation_count(handle)).map { index in
      let operation = ct_profile_operation(handle, index)
      return Operation(
        name: String(cString: operation.name), shapes: String(cString: operation.shapes),
        callCount: Int(operation.calls), seconds: operation.seconds,
        totalSeconds: operation.total_seconds,
        flops: operation.flops > 0 ? operation.flops : nil, byteCount: operation.bytes)
    }
    .sorted { ($0.seconds, $1.name, $1.shapes) > ($1.seconds, $0.name, $0.shapes) }
    let memory = ct_profile_memory(handle)
    allocationCount = Int(memory.allocations)
    allocatedByteCount = Int(memory.bytes)
    peakByteCount = Int(memory.peak_bytes)
  }

  /// Calls of `name`, over all shapes.
  public func callCount(_ name: String) -> Int {
    operations.reduce(0) { $0 + ($1.name == name ? $1.callCount : 0) }
  }

  /// Seconds in all operations together.
  public var seconds: Double { operations.reduce(0) { $0 + $1.seconds } }
}
