import Synchronization
public import Torch

/// A number of bytes that any thread may read.
public final class ByteCounter: Sendable {
  private let count = Atomic<Int>(0)

  /// The bytes now.
  public var byteCount: Int { count.load(ordering: .relaxed) }

  func add(_ byteCount: Int) { count.wrappingAdd(byteCount, ordering: .relaxed) }
}

/// Memory for gathered units and gradients, and for swaps: taken and given back, never returned to the
/// system.
///
/// Layers are alike, so a few buffers go round among them; after the first step nothing is
/// allocated.
public final class BufferPool {
  private var free: [Int: [Tensor]] = [:]
  private let make: (Int) -> Tensor
  /// Bytes of all buffers, free or in use.
  public let counter = ByteCounter()
  /// Bytes of all buffers, free or in use.
  public var byteCount: Int { counter.byteCount }

  /// An empty pool of a device's memory.
  public init(device: Device = .cpu) {
    make = { Tensor.empty([$0], dtype: .uint8, device: device) }
  }

  /// An empty pool of host memory that `device` copies from and to by itself.
  init(pinnedFor device: Device) { make = { Tensor.hostBuffer(for: device, byteCount: $0) } }

  /// Memory of at least `byteCount` bytes with arbitrary content.
  func take(byteCount: Int) -> Tensor {
    if let buffer = free[byteCount]?.popLast() { return buffer }
    counter.add(byteCount)
    return make(byteCount)
  }

  /// Makes memory available again.
  func giveBack(_ buffer: Tensor) {
    free[buffer.byteCount, default: []].append(buffer)
  }
}
