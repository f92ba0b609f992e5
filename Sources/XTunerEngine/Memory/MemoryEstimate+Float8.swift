import Torch

// Shape legend for this file:
//   R rows   N outputs   K inputs   E experts   P rows padded to whole tiles of each expert

/// What the products of a linear layer with quantised operands take for a moment, in bytes: values and
/// scales, and what the device needs beside them.
struct ImaginedProducts {
  /// Rows of one expert are taken as the mean; with one group it is no expert's.
  struct Shape {
    /// Rows, outputs, inputs and experts.
    let R, N, K, E: Int
    /// Whether rows are in groups, be it one; whether the weight is quantised already; whether a norm has
    /// quantised the rows.
    let isGrouped, isQuantized, hasRows: Bool
    /// Bytes of an element of the weight's gradient.
    var gradientSize = 2

    fileprivate var P: Int { (R + 127 * E) / 128 * 128 }
    fileprivate var blocks: Int { isQuantized ? 0 : E * (N * K + blockScales) }
    fileprivate var blockScales: Int {
      4 * Float8Tensor.tileCount(N) * Float8Tensor.tileCount(K)
    }
  }

  /// The output.
  let forward: Int
  /// The input's gradient.
  let inputGradient: Int
  /// The weight's gradient.
  let weightGradient: Int
  /// The output's gradient in columns, which is there from the input's gradient to the weight's.
  let gradientColumns: Int

  init(_ shape: Shape, _ products: Float8Products) {
    switch products {
    case .emulated: self.init(emulated: shape)
    case .native: self.init(native: shape)
    }
  }

  /// Operands are read back as float32 and multiplied so, groups one after another.
  private init(emulated shape: Shape) {
    let (R, N, K, E, P) = (shape.R, shape.N, shape.K, shape.E, shape.P)
    let isGrouped = shape.isGrouped
    let own = isGrouped ? (R + E - 1) / E : R
    let floats = 4 * (own * K + N * K + own * N)
    // Results of groups are copied into that of all, which is there from the first on.
    forward =
      (shape.hasRows ? 0 : Self.rowBytes(R, K)) + shape.blocks + floats
      + (isGrouped ? 2 * R * N : 0)
    gradientColumns = Self.rowBytes(N, P)
    inputGradient =
      Self.rowBytes(R, N) + gradientColumns + shape.blocks + floats + (isGrouped ? 2 * R * K : 0)
    let padded = isGrouped ? Float8Tensor.tileCount(own) * 128 : P
    weightGradient =
      Self.rowBytes(N + K, P) + 4 * (padded * (N + K) + N * K) + (isGrouped ? 2 * E * N * K : 0)
  }

  /// The result, which is there from the first on, the scales of rows once more, in the order of groups,
  /// and for the input's gradient the weight transposed; workspaces below 1 MB are not counted.
  private init(native shape: Shape) {
    let (R, N, K, E) = (shape.R, shape.N, shape.K, shape.E)
    func rowScales(_ width: Int) -> Int { 4 * R * Float8Tensor.tileCount(width) }
    forward = (shape.hasRows ? 0 : Self.rowBytes(R, K)) + shape.blocks + rowScales(K) + 2 * R * N
    gradientColumns = Self.rowBytes(N, shape.P)
    inputGradient =
      Self.rowBytes(R, N) + gradientColumns + shape.blocks + rowScales(N)
      + E * (N * K + shape.blockScales) + 2 * R * K
    weightGradient = Self.rowBytes(N + K, shape.P) + shape.gradientSize * E * N * K
  }

  /// Values and scales of rows.
  static func rowBytes(_ count: Int, _ width: Int) -> Int {
    count * width + 4 * count * Float8Tensor.tileCount(width)
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

  /// Saves gate and up; what SwiGLU makes of them is nowhere, its gradient is until theirs is made.
  func float8SwiGLULinear(
    _ gateUp: ImaginedTensor, byteCount: Int, _ products: ImaginedProducts,
    _ parameter: ImaginedParameter
  ) -> ImaginedTensor {
    _ = take(products.forward, \.working)
    let between = gateUp.byteCount / 2
    return made(
      byteCount, from: [gateUp], saving: [gateUp.memory], parameters: [parameter],
      scratch: products.inputGradient,
      lateScratch: max(products.weightGradient, between + products.gradientColumns))
  }
}
