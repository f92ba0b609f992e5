import Torch

/// Memory for gathered units and gradients: taken and given back, never returned to the system.
///
/// Layers are alike, so a few buffers go round among them; after the first step nothing is
/// allocated.
public final class BufferPool {
  private var free: [Int: [Tensor]] = [:]
  /// Bytes of all buffers, free or in use.
  public private(set) var byteCount = 0

  /// An empty pool.
  public init() {}

  /// Memory of at least `byteCount` bytes with arbitrary content.
  func take(byteCount: Int) -> Tensor {
    if let buffer = free[byteCount]?.popLast() { return buffer }
    self.byteCount += byteCount
    return Tensor.empty([byteCount], dtype: .uint8)
  }

  /// Makes memory available again.
  func giveBack(_ buffer: Tensor) {
    free[buffer.byteCount, default: []].append(buffer)
  }
}
