import CTorch

extension Tensor {
  /// A tensor of `count` elements whose storage has no memory yet.
  ///
  /// Views may be taken at once; they follow when memory comes and goes, and version counters do not
  /// move. To read or write without memory is a memory fault: `hasMemory` says whether one may.
  public static func detachedStorage(
    count: Int, dtype: DType, device: Device = .cpu
  ) -> Tensor {
    makeTensor("detachedStorage") {
      ct_tensor_detached_storage(Int64(count), dtype.rawValue, device.raw, $0)
    }
  }

  /// Makes this tensor's storage use the memory of `other`, which it keeps alive.
  ///
  /// - Parameter other: A contiguous tensor of the same device, of any dtype, with at least as many bytes.
  public func attachMemory(of other: Tensor) {
    withExtendedLifetime((self, other)) {
      torchCall("attachMemory") { ct_tensor_attach_memory(handle, other.handle) }
    }
  }

  /// Takes the memory from this tensor's storage.
  public func detachMemory() {
    withHandle { handle in torchCall("detachMemory") { ct_tensor_detach_memory(handle) } }
  }

  /// Whether the elements can be read; a tensor without elements lacks nothing.
  public var hasMemory: Bool { withHandle { ct_tensor_has_memory($0) } }
}
