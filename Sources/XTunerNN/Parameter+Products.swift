public import Torch

// Shape legend for this file:
//   R rows   N outputs   K inputs   E experts   C positions of a chunk   D hidden   V vocabulary

extension Parameter {
  /// `x · valueᵀ + bias` with operands as ``product`` says; `[..., N]` for `x` of `[..., K]`.
  public func linear(_ x: Tensor, bias: Parameter? = nil) -> Tensor {
    switch product {
    case .compute: Tensor.linear(x, weight: value, bias: bias?.value)
    case .float8:
      Tensor.float8Linear(x, weight: value, quantized: quantized, bias: bias?.value)
    case .nativeFloat8:
      Tensor.float8Linear(
        x, weight: value, quantized: quantized, bias: bias?.value, products: .native)
    }
  }

  /// The rows of each expert times the transpose of its matrix; `[R, N]` for rows `[R, K]`.
  ///
  /// `offsetsE` are the ends of the experts' rows.
  public func groupedLinear(_ rowsRK: Tensor, offsetsE: Tensor) -> Tensor {
    switch product {
    case .compute: rowsRK.groupedLinear(weight: value, offsets: offsetsE)
    case .float8:
      rowsRK.float8GroupedLinear(weight: value, quantized: quantized, offsets: offsetsE)
    case .nativeFloat8:
      rowsRK.float8GroupedLinear(
        weight: value, quantized: quantized, offsets: offsetsE, products: .native)
    }
  }
}

/// The head's products, without gradients of libtorch's: the loss makes them itself, chunk by chunk.
struct HeadProducts {
  private let headVD: Tensor
  /// The head, quantised once for all chunks.
  private let quantized: Float8Tensor?
  private let products: Float8Products

  init(_ headVD: Tensor, _ product: Parameter.Product, _ quantizedVD: Float8Tensor?) {
    self.headVD = headVD
    quantized = product == .compute ? nil : quantizedVD ?? headVD.quantizedInBlocks()
    products = product == .nativeFloat8 ? .native : .emulated
  }

  /// `[C, V]`.
  func logits(_ hiddenCD: Tensor) -> Tensor {
    guard let quantized else { return Tensor.linear(hiddenCD, weight: headVD) }
    return hiddenCD.quantizedInRows().product(quantized, products: products)
  }

  /// `[C, D]`.
  func hiddenGradient(_ gradientCV: Tensor) -> Tensor {
    guard let quantized else { return gradientCV.product(headVD) }
    return gradientCV.quantizedInRows().product(quantized.transposed(), products: products)
  }

  /// Adds the head's gradient, `[V, D]`, to a float32 sum.
  func addGradient(_ gradientCV: Tensor, _ hiddenCD: Tensor, to sumVD: Tensor) {
    if quantized == nil {
      sumVD.addProduct(gradientCV.transposed(), hiddenCD)
    } else {
      sumVD.add(
        gradientCV.quantizedInColumns().weightGradient(
          hiddenCD.quantizedInColumns(), dtype: .float32, products: products))
    }
  }
}
