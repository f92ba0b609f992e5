public import Torch

/// Memory for gathered units and gradients: taken and given back, never returned to the system.
///
/// Layers are alike, so a few buffers go round among them; after the first step nothing is
/// allocated.
public final class BufferPool {
  private var free: [Int: [Tensor]] = [:]
  private let device: Device
  /// Bytes of all buffers, free or in use.
  public private(set) var byteCount = 0

  /// An empty pool of a device's memory.
  public init(device: Device = .cpu) { self.device = device }

  /// Memory of at least `byteCount` bytes with arbitrary content.
  func take(byteCount: Int) -> Tensor {
    if let buffer = free[byteCount]?.popLast() { return buffer }
    self.byteCount += byteCount
    return Tensor.empty([byteCount], dtype: .uint8, device: device)
  }

  /// Makes memory available again.
  func giveBack(_ buffer: Tensor) {
    free[buffer.byteCount, default: []].append(buffer)
  }
}
