import CTorch

/// What a device did in a stretch of time, as libtorch's tracer saw it: kernels and copies of a GPU,
/// operators of a CPU.
public struct DeviceActivity {
  /// Everything of one name.
  public struct Operation: Sendable {
    /// The kernel's or operator's name.
    public let name: String
    /// How often it ran.
    public let callCount: Int
    /// Seconds in it; on a CPU with the operators that it calls.
    public let seconds: Double
  }

  /// Seconds from the first thing that the device did to the end of the last.
  public let seconds: Double
  /// Seconds of these in which it did anything, on any stream.
  public let busySeconds: Double
  /// What it did, most seconds first.
  public let operations: [Operation]

  /// The share of the time in which the device did nothing.
  public var idleShare: Double { seconds > 0 ? 1 - busySeconds / seconds : 0 }

  /// Loads the tracer, which takes seconds once in a process: whoever does that, and then some of the
  /// work that is to be traced, has neither in the trace.
  public static func prepare(on device: Device) {
    torchCall("device_trace_prepare") { ct_device_trace_prepare(device.raw) }
  }

  /// Runs `body` and traces `device`, which is waited for before and after.
  ///
  /// A process traces one stretch at a time.
  public static func record(on device: Device, _ body: () throws -> Void) rethrows -> DeviceActivity
  {
    device.synchronize()
    torchCall("device_trace_start") { ct_device_trace_start(device.raw) }
    var handle: OpaquePointer?
    do {
      defer { torchCall("device_trace_stop") { ct_device_trace_stop(device.raw, &handle) } }
      try body()
    }
    guard let handle else { preconditionFailure("a trace that stopped has a handle") }
    defer { ct_device_trace_free(handle) }
    return DeviceActivity(handle)
  }

  private init(_ handle: OpaquePointer) {
    seconds = ct_device_trace_seconds(handle)
    busySeconds = ct_device_trace_busy_seconds(handle)
    operations = (0..<ct_device_trace_count(handle)).map { index in
      let activity = ct_device_trace_activity(handle, index)
      return Operation(
        name: String(cString: activity.name), callCount: Int(activity.calls),
        seconds: activity.seconds)
    }
    .sorted { ($0.seconds, $1.name) > ($1.seconds, $0.name) }
  }
}
