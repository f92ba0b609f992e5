import CTorch

extension Device {
  /// Devices of a kind that this process can use: 0 where no back end for them is loaded.
  public static func count(of kind: Kind) -> Int { Int(ct_device_count(kind.rawValue)) }

  /// Whether a back end for a kind of device is loaded, with or without a device that works.
  public static func hasBackend(for kind: Kind) -> Bool { ct_device_has_backend(kind.rawValue) }

  /// Makes this the current device of its kind on this thread.
  public func makeCurrent() {
    torchCall("makeCurrent") { ct_device_set_current(raw) }
  }

  /// Waits for everything that was issued to the device.
  public func synchronize() {
    torchCall("synchronize") { ct_device_synchronize(raw) }
  }

  /// Whether operations that make the host wait for this kind of device can be made to fail: on CUDA
  /// with the plug-in, never on a CPU.
  public var canForbidWaits: Bool { ct_device_can_forbid_waiting(kind.rawValue) }

  /// Runs `body`, in which an operation that makes the host wait for this kind of device (a copy to
  /// ordinary host memory, `item()`, `synchronize()`) stops the process with a message that names it.
  ///
  /// It holds for all threads of the process. The device must be one that `canForbidWaits`.
  public func forbiddingWaits<Result>(_ body: () throws -> Result) rethrows -> Result {
    torchCall("forbiddingWaits") { ct_device_forbid_waiting(kind.rawValue, true) }
    defer { torchCall("forbiddingWaits") { ct_device_forbid_waiting(kind.rawValue, false) } }
    return try body()
  }
}
