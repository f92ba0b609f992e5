import CTorch

/// The memory of tensors on a device, in bytes as they were asked for.
///
/// Process-wide, as the allocators are that are asked.
public enum DeviceMemory {
  /// Counts what is allocated on the CPU from now on; what was there before is not counted when it is
  /// freed.
  ///
  /// Allocators of other devices count by themselves.
  public static func startCounting() {
    torchCall("startCounting") { ct_memory_start_counting() }
  }

  /// Bytes of counted tensors that are alive.
  public static func liveByteCount(on device: Device = .cpu) -> Int { counts(device).live }

  /// The most that were alive at a time since the last reset.
  public static func peakByteCount(on device: Device = .cpu) -> Int { counts(device).peak }

  /// Makes the peak what is alive now.
  public static func resetPeak(on device: Device = .cpu) {
    torchCall("resetPeak") { ct_device_reset_peak_memory(device.raw) }
  }

  private static func counts(_ device: Device) -> (live: Int, peak: Int) {
    var (live, peak): (Int64, Int64) = (0, 0)
    torchCall("memory") { ct_device_memory(device.raw, &live, &peak) }
    return (Int(live), Int(peak))
  }
}
