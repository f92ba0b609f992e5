import Dispatch
public import Torch

/// Moves tensors to host memory and back while others are computed on.
///
/// Host buffers are kept and used again. On a CPU host memory is ordinary memory outside the tensor
/// allocator, so that the tensors' own peak shows what a device would save.
public final class HostSwap {
  private let queue = DispatchQueue(label: "xtuner.swap", qos: .userInitiated)
  private let pool = HostBufferPool()
  private let instruments: Instruments

  /// No buffer yet.
  public init(instruments: Instruments = Instruments()) {
    self.instruments = instruments
  }

  /// Bytes of all host buffers.
  public var hostByteCount: Int { pool.byteCount }

  /// Starts to copy a tensor out; its memory is free when the result says so and nothing else holds
  /// the tensor.
  public func out(_ tensor: Tensor) -> SwappedTensor {
    let swapped = SwappedTensor(
      tensor.contiguous(), buffer: pool.take(tensor.byteCount), pool: pool)
    let instruments = instruments
    queue.async { instruments.record("out", .swap, lane: "swap") { swapped.copyOut() } }
    return swapped
  }

  /// Starts to copy it back.
  public func back(_ swapped: SwappedTensor) {
    swapped.startReturn()
    let instruments = instruments
    queue.async { instruments.record("back", .swap, lane: "swap") { swapped.copyBack() } }
  }
}

/// A tensor that is in host memory, or on its way.
public final class SwappedTensor: @unchecked Sendable {
  // The tensor is handed over between the two copies by the queue's order and the groups.
  private let shape: [Int]
  private let dtype: DType
  private let device: Device
  private let buffer: UnsafeMutableRawBufferPointer
  private let pool: HostBufferPool
  private let outDone = DispatchGroup()
  private let backDone = DispatchGroup()
  private var tensor: Tensor?
  private var isReturning = false

  fileprivate init(_ tensor: Tensor, buffer: UnsafeMutableRawBufferPointer, pool: HostBufferPool) {
    self.tensor = tensor
    self.shape = tensor.shape
    self.dtype = tensor.dtype
    self.device = tensor.device
    self.buffer = buffer
    self.pool = pool
    outDone.enter()
  }

  deinit { pool.giveBack(buffer) }

  fileprivate func copyOut() {
    tensor?.copyBytes(to: UnsafeMutableRawBufferPointer(rebasing: buffer[..<byteCount]))
    tensor = nil
    outDone.leave()
  }

  /// Waits until the tensor's memory is free.
  public func waitUntilOut() { outDone.wait() }

  fileprivate func startReturn() {
    guard !isReturning else { return }
    isReturning = true
    backDone.enter()
  }

  fileprivate func copyBack() {
    tensor = Tensor(
      bytes: UnsafeRawBufferPointer(rebasing: buffer[..<byteCount]), shape: shape, dtype: dtype,
      device: device)
    backDone.leave()
  }

  /// The tensor, once it is back.
  public func wait() -> Tensor {
    precondition(isReturning, "a swapped tensor is used that nothing brought back")
    backDone.wait()
    guard let tensor else { preconditionFailure("a swapped tensor was lost") }
    return tensor
  }

  private var byteCount: Int { shape.reduce(1, *) * dtype.size }
}

/// Host memory by size.
final class HostBufferPool: @unchecked Sendable {
  // Orders all access.
  private let lock = DispatchSemaphore(value: 1)
  private var free: [Int: [UnsafeMutableRawBufferPointer]] = [:]
  private var total = 0

  var byteCount: Int {
    lock.wait()
    defer { lock.signal() }
    return total
  }

  func take(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    let size = max(byteCount, 1).roundedUp(toMultipleOf: 4096)
    lock.wait()
    defer { lock.signal() }
    if let buffer = free[size]?.popLast() { return buffer }
    total += size
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
