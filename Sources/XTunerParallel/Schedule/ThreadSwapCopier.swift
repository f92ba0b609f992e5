import Dispatch
import Torch

/// Copies tensors of a CPU on a thread.
final class ThreadSwapCopier: SwapCopier {
  private let queue = DispatchQueue(label: "xtuner.swap", qos: .userInitiated)
  private let pool = HostBufferPool()
  private let instruments: Instruments

  init(_ instruments: Instruments) { self.instruments = instruments }

  var hostCounter: ByteCounter { pool.counter }

  func out(_ tensor: Tensor) -> any SwapCopy {
    let copy = ThreadSwapCopy(
      tensor, buffer: pool.take(tensor.byteCount), pool: pool, queue: queue,
      instruments: instruments)
    copy.startOut()
    return copy
  }
}

/// One tensor's copies.
private final class ThreadSwapCopy: SwapCopy, @unchecked Sendable {
  // The tensor is handed over between the two copies by the queue's order and the groups.
  private let shape: [Int]
  private let dtype: DType
  private let device: Device
  private let buffer: UnsafeMutableRawBufferPointer
  private let pool: HostBufferPool
  private let queue: DispatchQueue
  private let instruments: Instruments
  private let outDone = DispatchGroup()
  private let backDone = DispatchGroup()
  private var tensor: Tensor?

  init(
    _ tensor: Tensor, buffer: UnsafeMutableRawBufferPointer, pool: HostBufferPool,
    queue: DispatchQueue, instruments: Instruments
  ) {
    self.tensor = tensor
    self.shape = tensor.shape
    self.dtype = tensor.dtype
    self.device = tensor.device
    self.buffer = buffer
    self.pool = pool
    self.queue = queue
    self.instruments = instruments
  }

  deinit { pool.giveBack(buffer) }

  func startOut() {
    outDone.enter()
    queue.async { [self] in
      instruments.record("out", .swap, lane: "swap") {
        tensor?.copyBytes(to: UnsafeMutableRawBufferPointer(rebasing: buffer[..<byteCount]))
        tensor = nil
        outDone.leave()
      }
    }
  }

  func waitUntilOut() { outDone.wait() }

  func startReturn() {
    backDone.enter()
    queue.async { [self] in
      instruments.record("back", .swap, lane: "swap") {
        tensor = Tensor(
          bytes: UnsafeRawBufferPointer(rebasing: buffer[..<byteCount]), shape: shape,
          dtype: dtype, device: device)
        backDone.leave()
      }
    }
  }

  func wait() -> Tensor {
    backDone.wait()
    guard let tensor else { preconditionFailure("a swapped tensor was lost") }
    return tensor
  }

  private var byteCount: Int { shape.reduce(1, *) * dtype.size }
}

/// Host memory by size.
private final class HostBufferPool: @unchecked Sendable {
  // Orders all access.
  private let lock = DispatchSemaphore(value: 1)
  private var free: [Int: [UnsafeMutableRawBufferPointer]] = [:]
  let counter = ByteCounter()

  func take(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let size = max(byteCount, 1).roundedUp(toMultipleOf: 4096)
    lock.wait()
    defer { lock.signal() }
    if let buffer = free[size]?.popLast() { return buffer }
    counter.add(size)
    return .allocate(byteCount: size, alignment: 4096)
  }

  func giveBack(_ buffer: UnsafeMutableRawBufferPointer) {
    lock.wait()
    defer { lock.signal() }
    free[buffer.count, default: []].append(buffer)
  }

  deinit {
    for buffers in free.values { for buffer in buffers { buffer.deallocate() } }
  }
}
