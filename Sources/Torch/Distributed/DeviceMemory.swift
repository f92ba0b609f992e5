import CTorch

/// The memory of CPU tensors, in bytes as they were asked for.
///
/// Process-wide, as the allocator is that it asks.
public enum DeviceMemory {
  /// Counts what is allocated from now on; what was there before is not counted when it is freed.
  public static func startCounting() {
    torchCall("startCounting") { ct_memory_start_counting() }
  }

  /// Bytes of counted tensors that are alive.
  public static var liveByteCount: Int { Int(ct_memory_live_bytes()) }

  /// The most that were alive at a time since the last reset.
  public static var peakByteCount: Int { Int(ct_memory_peak_bytes()) }

  /// Makes the peak what is alive now.
  public static func resetPeak() { ct_memory_reset_peak() }
}
