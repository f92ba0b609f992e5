import CTorch
import Foundation
import XTunerSystem

/// Where a failed tensor operation is reported before the process stops.
///
/// A failing operation is a programmer error (shape, dtype, device) or exhausted memory. Neither can
/// be repaired in the middle of a step, so the rank stops with libtorch's message and a documented
/// exit code. The run installs a reporter so that its log is flushed and a hint written first.
public enum TensorFailure {
  /// Exit code of a process that a failed tensor operation stopped.
  public static let exitCode: Int32 = 6

  private static let reporter = Reporter()

  /// Installs `report`, called once with the message before the process exits; for an end by a lost rank
  /// whose operation does not return as well.
  public static func onFailure(_ report: @escaping @Sendable (_ message: String) -> Void) {
    reporter.set(report)
  }

  /// Installs what says, when memory is out, who has it and what would help.
  ///
  /// Its text follows libtorch's message. It is called on the thread whose operation failed, and must
  /// take no tensors.
  public static func onOutOfMemory(_ explain: @escaping @Sendable () -> String) {
    reporter.setExplanation(explain)
  }

  static func stop(_ operation: StaticString, _ status: CTStatus) -> Never {
    var message = "\(operation): \(String(cString: ct_last_error()))"
    if status == .outOfMemory {
      message = "\(operation) ran out of memory: \(String(cString: ct_last_error()))"
      if let explanation = reporter.takeExplanation() { message += "\n\(explanation())" }
    }
    stop(message, exitCode: exitCode)
  }

  /// Reports a failure that no thread can throw, and ends the process.
  static func stop(_ message: String, exitCode: Int32) -> Never {
    reporter.report(message)
    StandardStream.error.write("error: \(message)\n")
    // Without destructors of libraries, whose threads may be at work on a device.
    fflush(nil)
    _exit(exitCode)
  }

  /// One process has one way to die, so this is process-wide; a lock guards the closure.
  private final class Reporter: @unchecked Sendable {  // `lock` guards both closures
    private let lock = NSLock()
    private var action: (@Sendable (String) -> Void)?
    private var explanation: (@Sendable () -> String)?

    func setExplanation(_ explain: @escaping @Sendable () -> String) {
      lock.withLock { explanation = explain }
    }

    /// Once: what it calls may fail for the same reason.
    func takeExplanation() -> (@Sendable () -> String)? {
      lock.withLock {
        defer { explanation = nil }
        return explanation
      }
    }

    func set(_ action: @escaping @Sendable (String) -> Void) {
      lock.withLock { self.action = action }
    }

    func report(_ message: String) {
      lock.withLock { action }?(message)
    }
  }
}

extension CTStatus {
  static var ok: CTStatus { .OK }
}

func torchCall(_ operation: StaticString, _ body: () -> CTStatus) {
  let status = body()
  if status != .OK { TensorFailure.stop(operation, status) }
}

typealias TensorSlot = UnsafeMutablePointer<OpaquePointer?>

func makeTensor(_ operation: StaticString, _ body: (TensorSlot) -> CTStatus) -> Tensor {
  var handle: OpaquePointer?
  let status = body(&handle)
  guard status == .OK, let handle else { TensorFailure.stop(operation, status) }
  return Tensor(adopting: handle)
}

func makeTensors2(
  _ operation: StaticString, _ body: (TensorSlot, TensorSlot) -> CTStatus
) -> (Tensor, Tensor) {
  var first: OpaquePointer?
  var second: OpaquePointer?
  let status = body(&first, &second)
  guard status == .OK, let first, let second else { TensorFailure.stop(operation, status) }
  return (Tensor(adopting: first), Tensor(adopting: second))
}

func makeTensors4(
  _ operation: StaticString, _ body: (TensorSlot, TensorSlot, TensorSlot, TensorSlot) -> CTStatus
) -> (Tensor, Tensor, Tensor, Tensor) {
  var handles: (OpaquePointer?, OpaquePointer?, OpaquePointer?, OpaquePointer?)
  let status = body(&handles.0, &handles.1, &handles.2, &handles.3)
  guard status == .OK, let a = handles.0, let b = handles.1, let c = handles.2, let d = handles.3
  else { TensorFailure.stop(operation, status) }
  return (Tensor(adopting: a), Tensor(adopting: b), Tensor(adopting: c), Tensor(adopting: d))
}

func makeTensorList(
  _ operation: StaticString, _ body: (UnsafeMutablePointer<OpaquePointer?>) -> CTStatus
) -> [Tensor] {
  makeOptionalTensorList(operation, body).map { tensor in
    guard let tensor else { TensorFailure.stop(operation, .internal) }
    return tensor
  }
}

func makeOptionalTensorList(
  _ operation: StaticString, _ body: (UnsafeMutablePointer<OpaquePointer?>) -> CTStatus
) -> [Tensor?] {
  var list: OpaquePointer?
  let status = body(&list)
  guard status == .OK, let list else { TensorFailure.stop(operation, status) }
  defer { ct_tensor_list_free(list) }
  return (0..<ct_tensor_list_count(list)).map { index in
    var handle: OpaquePointer?
    torchCall(operation) { ct_tensor_list_take(list, index, &handle) }
    return handle.map(Tensor.init(adopting:))
  }
}

func makeBool(_ operation: StaticString, _ body: (UnsafeMutablePointer<Bool>) -> CTStatus) -> Bool {
  var value = false
  torchCall(operation) { body(&value) }
  return value
}

func withOptionalPointer<Result>(_ value: Int?, _ body: (UnsafePointer<Int64>?) -> Result) -> Result
{
  guard let value else { return body(nil) }
  return withUnsafePointer(to: Int64(value)) { body($0) }
}

func withOptionalPointer<Result>(_ value: Double?, _ body: (UnsafePointer<Double>?) -> Result)
  -> Result
{
  guard let value else { return body(nil) }
  return withUnsafePointer(to: value) { body($0) }
}

func withOptionalPointer<Result>(_ value: Bool?, _ body: (UnsafePointer<Bool>?) -> Result) -> Result
{
  guard let value else { return body(nil) }
  return withUnsafePointer(to: value) { body($0) }
}

func withOptionalPointer<Result>(_ value: Scalar?, _ body: (UnsafePointer<CTScalar>?) -> Result)
  -> Result
{
  guard let value else { return body(nil) }
  return withUnsafePointer(to: value.raw) { body($0) }
}

struct IntegerList {
  var base: UnsafePointer<Int64>
  var count: Int
}

/// Shapes have at most a few dims: up to four go through the stack, without an allocation.
func withIntegers<Result>(_ values: [Int], _ body: (IntegerList) -> Result) -> Result {
  withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(values.count, 1)) { buffer in
    for (index, value) in values.enumerated() { buffer[index] = Int64(value) }
    return body(
      IntegerList(base: UnsafePointer(buffer.baseAddress.unsafelyUnwrapped), count: values.count))
  }
}

func withOptionalIntegers<Result>(
  _ values: [Int]?, _ body: (UnsafeBufferPointer<Int64>) -> Result
) -> Result {
  guard let values else { return body(UnsafeBufferPointer(start: nil, count: 0)) }
  return withIntegers(values) { body(UnsafeBufferPointer(start: $0.base, count: $0.count)) }
}

struct HandleList {
  var base: UnsafePointer<OpaquePointer>
  var count: Int
}

func withHandles<Result>(_ tensors: [Tensor], _ body: (HandleList) -> Result) -> Result {
  withUnsafeTemporaryAllocation(of: OpaquePointer.self, capacity: max(tensors.count, 1)) { buffer in
    for (index, tensor) in tensors.enumerated() { buffer[index] = tensor.handle }
    // The tensors outlive the call: `tensors` is alive until it returns.
    return withExtendedLifetime(tensors) {
      body(
        HandleList(base: UnsafePointer(buffer.baseAddress.unsafelyUnwrapped), count: tensors.count))
    }
  }
}
