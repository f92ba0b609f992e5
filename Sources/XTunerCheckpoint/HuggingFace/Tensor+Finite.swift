package import Torch

extension Tensor {
  /// Elements that are looked at at once: the most that is in memory beside the weights.
  package static let bucketCount = 1 << 22

  /// Whether no element is a NaN or an infinity, for flat tensors of any floating-point type.
  package func hasOnlyFiniteElements() -> Bool {
    for start in stride(from: 0, to: elementCount, by: Self.bucketCount) {
      let part = narrowed(
        dim: 0, start: start, length: min(Self.bucketCount, elementCount - start))
      guard part.isFiniteMask().allTrue().item() != 0 else { return false }
    }
    return true
  }
}
