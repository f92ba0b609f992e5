import CTorch

/// An n-dimensional array on one device; a cheap handle that shares storage when copied.
///
/// Like `torch.Tensor`, copies alias the same memory: in-place operations are visible through every
/// copy. A tensor is confined to the thread that uses it and is not `Sendable`. Operations succeed
/// or stop the process with libtorch's message, see ``TensorFailure``.
public struct Tensor {
  let storage: TensorStorage

  init(adopting handle: OpaquePointer) {
    self.storage = TensorStorage(adopting: handle)
  }

  /// For calls inside `withExtendedLifetime` of this tensor: the handle alone keeps nothing alive, and a
  /// temporary may be freed before the call that its handle is given to.
  var handle: OpaquePointer { storage.handle }

  /// Calls `body` with the handle, which stays valid until it returns.
  func withHandle<Result>(_ body: (OpaquePointer) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(storage) { try body(storage.handle) }
  }
}

/// Owns one `ct_tensor` and releases it exactly once.
final class TensorStorage {
  let handle: OpaquePointer

  init(adopting handle: OpaquePointer) {
    self.handle = handle
  }

  deinit {
    ct_tensor_free(handle)
  }
}

extension Tensor {
  /// The size of each dim.
  public var shape: [Int] {
    withHandle { handle in
      let rank = Int(ct_tensor_dim(handle))
      return withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(rank, 1)) { sizes in
        ct_tensor_sizes(handle, sizes.baseAddress.unsafelyUnwrapped)
        return (0..<rank).map { Int(sizes[$0]) }
      }
    }
  }

  /// The step in elements between neighbours of each dim.
  public var strides: [Int] {
    withHandle { handle in
      let rank = Int(ct_tensor_dim(handle))
      return withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(rank, 1)) { strides in
        ct_tensor_strides(handle, strides.baseAddress.unsafelyUnwrapped)
        return (0..<rank).map { Int(strides[$0]) }
      }
    }
  }

  /// The number of dims.
  public var rank: Int { withHandle { Int(ct_tensor_dim($0)) } }

  /// The size of `dim`, which may count from the end.
  public func size(_ dim: Int) -> Int {
    let shape = shape
    return shape[dim < 0 ? shape.count + dim : dim]
  }

  /// The number of elements.
  public var elementCount: Int { withHandle { Int(ct_tensor_element_count($0)) } }

  /// The size of all elements in bytes.
  public var byteCount: Int { elementCount * dtype.size }

  /// The element type.
  public var dtype: DType {
    let raw = withHandle { ct_tensor_dtype($0) }
    guard let dtype = DType(rawValue: raw) else {
      preconditionFailure("libtorch's dtype number \(raw) has no DType")
    }
    return dtype
  }

  /// The device that holds the elements.
  public var device: Device {
    let raw = withHandle { ct_tensor_device($0) }
    guard let kind = Device.Kind(rawValue: raw.type) else {
      preconditionFailure("libtorch's device type \(raw.type) has no Device.Kind")
    }
    return Device(kind: kind, index: raw.index)
  }

  /// Whether elements lie in row-major order without gaps.
  public var isContiguous: Bool { withHandle { ct_tensor_is_contiguous($0) } }

  /// Whether both tensors are views of one storage.
  public func sharesStorage(with other: Tensor) -> Bool {
    withExtendedLifetime((self, other)) { ct_tensor_shares_storage(handle, other.handle) }
  }

  /// Number of tensor handles alive in the process; tests use it to prove that nothing leaks.
  public static var liveHandleCount: Int { Int(ct_live_handle_count()) }
}

extension Tensor: CustomStringConvertible {
  /// Shape, dtype and device, such as `[2, 3] float32 cpu`.
  public var description: String { "\(shape) \(dtype) \(device)" }
}
