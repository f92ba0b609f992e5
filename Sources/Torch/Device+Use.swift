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
}
