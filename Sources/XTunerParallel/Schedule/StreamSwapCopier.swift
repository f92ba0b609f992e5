import Torch

/// Copies tensors of a device on a stream of their own, from and to pinned memory; the host never
/// waits.
///
/// Confined to the thread that computes, whose current stream all events are towards.
final class StreamSwapCopier: SwapCopier {
  /// Copies out whose tensors have memory at once: both moments of two units.
  ///
  /// Before a further one the stream that computes waits for the first of them, and its memory is free
  /// for what comes then.
  static let outLimit = 4

  private struct Outgoing {
    weak var copy: StreamSwapCopy?
  }

  private let pool: BufferPool
  private let stream: DeviceStream
  private let instruments: Instruments
  private var outgoing: [Outgoing] = []

  init(_ device: Device, _ instruments: Instruments) {
    pool = BufferPool(pinnedFor: device)
    stream = DeviceStream(on: device)
    self.instruments = instruments
  }

  var hostCounter: ByteCounter { pool.counter }

  func out(_ tensor: Tensor) -> any SwapCopy {
    instruments.record("issue out", .swap, lane: "swap") {
      while outgoing.count >= Self.outLimit { outgoing.removeFirst().copy?.waitUntilOut() }
      let copy = StreamSwapCopy(tensor, pool: pool, stream: stream, instruments: instruments)
      outgoing.append(Outgoing(copy: copy))
      return copy
    }
  }
}

private final class StreamSwapCopy: SwapCopy {
  private let shape: [Int]
  private let dtype: DType
  private let device: Device
  private let stream: DeviceStream
  private let pool: BufferPool
  private let buffer: Tensor
  private let instruments: Instruments
  private let isOut: DeviceEvent
  /// The tensor until the stream that computes waits for its copy: freed earlier, its memory would be
  /// written to while it is read.
  private var source: Tensor?
  private var returned: (tensor: Tensor, event: DeviceEvent)?

  init(
    _ tensor: Tensor, pool: BufferPool, stream: DeviceStream, instruments: Instruments
  ) {
    (shape, dtype, device) = (tensor.shape, tensor.dtype, tensor.device)
    (self.pool, self.stream, self.instruments) = (pool, stream, instruments)
    source = tensor
    buffer = pool.take(byteCount: max(tensor.byteCount, 1).roundedUp(toMultipleOf: 4096))
    // The copy starts after what has made the tensor.
    stream.wait(for: DeviceEvent(after: .current(on: device)))
    let host = buffer.view(as: dtype, shape: shape)
    stream.withCurrent { host.copy(from: tensor, nonBlocking: true) }
    isOut = DeviceEvent(after: stream)
  }

  deinit {
    waitUntilOut()
    if let returned { DeviceStream.current(on: device).wait(for: returned.event) }
    // The next copy with this buffer is on the same stream, so after the last one.
    pool.giveBack(buffer)
  }

  func waitUntilOut() {
    guard source != nil else { return }
    DeviceStream.current(on: device).wait(for: isOut)
    source = nil
  }

  func startReturn() {
    waitUntilOut()
    instruments.record("issue back", .swap, lane: "swap") {
      withoutGradients {
        let tensor = Tensor.empty(shape, dtype: dtype, device: device)
        // The memory may be that of a tensor which the computing stream still reads.
        stream.wait(for: DeviceEvent(after: .current(on: device)))
        let host = buffer.view(as: dtype, shape: shape)
        stream.withCurrent { tensor.copy(from: host, nonBlocking: true) }
        returned = (tensor, DeviceEvent(after: stream))
      }
    }
  }

  func wait() -> Tensor {
    guard let returned else { preconditionFailure("a swapped tensor was lost") }
    DeviceStream.current(on: device).wait(for: returned.event)
    return returned.tensor
  }
}

extension Tensor {
  /// The first bytes of a buffer as a tensor.
  fileprivate func view(as dtype: DType, shape: [Int]) -> Tensor {
    let byteCount = shape.reduce(1, *) * dtype.size
    return narrowed(dim: 0, start: 0, length: byteCount).view(as: dtype).view(shape)
  }
}
