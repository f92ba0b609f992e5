import Torch

// Shape legend for this file:
//   R rows   N outputs   K inputs   E experts   P rows padded to whole tiles of each expert

/// What the products of a linear layer with quantised operands take for a moment, in bytes: values and
/// scales, and the float32 operands and results by which a CPU emulates them.
struct ImaginedProducts {
  /// The output.
  let forward: Int
  /// The input's gradient.
  let inputGradient: Int
  /// The weight's gradient, without what it comes to; with it where it is put together of experts'.
  let weightGradient: Int

  /// Rows of one expert are taken as the mean; with one group it is no expert's.
  ///
  /// `isQuantized` says that the weight is quantised already.
  init(rows R: Int, outputs N: Int, inputs K: Int, groups E: Int, isQuantized: Bool) {
    let tiles = Float8Tensor.tileCount
    func inRows(_ count: Int, _ width: Int) -> Int { count * width + 4 * count * tiles(width) }
    let isGrouped = E > 1
    let blocks = isQuantized ? 0 : E * (N * K + 4 * tiles(N) * tiles(K))
    // Groups are multiplied one after another.
    let own = isGrouped ? (R + E - 1) / E : R
    let floats = 4 * (own * K + N * K + own * N)
    // Results of groups are copied into that of all, which is there from the first on.
    forward = inRows(R, K) + blocks + floats + (isGrouped ? 2 * R * N : 0)
    inputGradient = inRows(R, N) + blocks + floats + (isGrouped ? 2 * R * K : 0)
    let P = (R + 127 * E) / 128 * 128
    let padded = isGrouped ? tiles(own) * 128 : P
    weightGradient =
      inRows(N + K, P) + 4 * (padded * (N + K) + N * K) + (isGrouped ? 2 * E * N * K : 0)
  }
}

extension MemoryLedger {
  /// Saves x; the weight has its memory anyway.
  func float8Linear(
    _ x: ImaginedTensor, byteCount: Int, _ products: ImaginedProducts,
    _ parameter: ImaginedParameter
  ) -> ImaginedTensor {
    _ = take(products.forward, \.working)
    return made(
      byteCount, from: [x], saving: [x.memory], parameters: [parameter],
      scratch: products.inputGradient, lateScratch: products.weightGradient)
  }
}
