import Torch

/// Bytes that can be written to a checkpoint, on another thread than the one that made them.
///
/// A tensor copied to host memory is one; so is an array. The bytes must not change until the
/// checkpoint is written.
public protocol TensorBytes: Sendable {
  /// How many bytes there are.
  var byteCount: Int { get }

  /// Calls a closure with all of them, contiguous and row-major; called once, on any thread.
  func withBytes(_ body: (UnsafeRawBufferPointer) throws -> Void) throws
}

extension [UInt8]: TensorBytes {
  /// How many bytes there are.
  public var byteCount: Int { count }

  /// Calls a closure with the elements.
  public func withBytes(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    try withUnsafeBytes { try body($0) }
  }
}

/// A tensor to be written: what it is, and its bytes.
public struct CheckpointTensor: Sendable {
  /// Name, element type and sizes.
  public var entry: SafetensorsEntry
  /// The content.
  public var bytes: any TensorBytes

  /// A tensor from its description and content.
  public init(entry: SafetensorsEntry, bytes: any TensorBytes) {
    self.entry = entry
    self.bytes = bytes
  }
}

/// The bytes of a tensor, copied at once so that a background thread can write them.
final class HostBytes: TensorBytes {
  // The memory is written in the initialiser only, then read by one thread.
  nonisolated(unsafe) private let memory: UnsafeMutableRawBufferPointer

  init(_ tensor: Tensor) {
    memory = .allocate(byteCount: tensor.byteCount, alignment: 64)
    tensor.copyBytes(to: memory)
  }

  deinit {
    memory.deallocate()
  }

  var byteCount: Int { memory.count }

  func withBytes(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    try body(UnsafeRawBufferPointer(memory))
  }
}
