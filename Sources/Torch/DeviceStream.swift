import CTorch

/// A queue of a device's operations: those of one stream run in their order, streams beside each other.
///
/// Each thread has a current stream of each device, where its operations go; the default one unless
/// it was changed. On a CPU an operation is over when its call returns, so there all of this does
/// nothing.
public struct DeviceStream: Sendable {
  let raw: CTStream

  /// A stream beside the others of a device; it lives as long as the process.
  public init(on device: Device) {
    var raw = CTStream()
    torchCall("newStream") { ct_stream_new(device.raw, &raw) }
    self.raw = raw
  }

  private init(_ raw: CTStream) { self.raw = raw }

  /// The stream that this thread's operations on a device go to.
  public static func current(on device: Device) -> DeviceStream {
    var raw = CTStream()
    torchCall("currentStream") { ct_stream_current(device.raw, &raw) }
    return DeviceStream(raw)
  }

  /// Runs `body` with this as the thread's current stream of its device.
  public func withCurrent<Result>(_ body: () throws -> Result) rethrows -> Result {
    var previous = CTStream()
    torchCall("currentStream") { ct_stream_current(raw.device, &previous) }
    torchCall("makeStreamCurrent") { ct_stream_make_current(raw) }
    defer { torchCall("makeStreamCurrent") { ct_stream_make_current(previous) } }
    return try body()
  }

  /// Lets what is issued to this stream from now on start after `event`; the host goes on.
  public func wait(for event: DeviceEvent) {
    withExtendedLifetime(event) {
      guard let handle = event.handle else { return }
      torchCall("streamWait") { ct_stream_wait(raw, handle) }
    }
  }
}

/// A point in the order of a stream's operations, which others can wait for.
public final class DeviceEvent: @unchecked Sendable {
  // Not changed after it was recorded, and c10's events may be waited for on any thread.
  let handle: OpaquePointer?

  /// The end of all that was issued to `stream` so far.
  public init(after stream: DeviceStream) {
    var handle: OpaquePointer?
    torchCall("recordEvent") { ct_event_record(stream.raw, &handle) }
    self.handle = handle
  }

  deinit {
    if let handle { ct_event_free(handle) }
  }
}

extension Tensor {
  /// Lets the memory, when the tensor is freed, wait for what was issued to `stream` until then.
  ///
  /// Memory belongs to the stream that was current when it was made: another stream that uses it has
  /// to say so, unless its own stream waits for that use before the tensor is freed.
  public func keepMemory(for stream: DeviceStream) {
    withHandle { handle in
      torchCall("keepMemory") { ct_tensor_record_stream(handle, stream.raw) }
    }
  }

  /// `byteCount` bytes of host memory that `device` copies from and to while the host goes on: pinned
  /// memory where its back end has that, else ordinary memory.
  public static func hostBuffer(for device: Device, byteCount: Int) -> Tensor {
    makeTensor("hostBuffer") { ct_host_buffer(device.raw, Int64(byteCount), $0) }
  }

  /// A tensor with a copy of `elements` in host memory that `device` copies from while the host goes on,
  /// see ``hostBuffer(for:byteCount:)``.
  public init<Element: TensorElement>(hostElements elements: [Element], for device: Device) {
    self = elements.withUnsafeBytes { bytes in
      let buffer = Tensor.hostBuffer(for: device, byteCount: bytes.count)
      buffer.withMutableBytes { $0.copyMemory(from: bytes) }
      return buffer.view(as: Element.dtype)
    }
  }

  /// A copy on `device` of a tensor in host memory; the host does not wait for it.
  public func sent(to device: Device) -> Tensor {
    guard device != self.device else { return self }
    let (source, shape, dtype) = (contiguous(), shape, dtype)
    return source.withMutableBytes { bytes in
      Tensor(bytes: UnsafeRawBufferPointer(bytes), shape: shape, dtype: dtype, device: device)
    }
  }
}
