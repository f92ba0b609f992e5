public import Torch

// Shape legend for this file:
//   R rows   N outputs   K inputs   E experts   C positions of a chunk   D hidden   V vocabulary

extension Parameter {
  /// `x · valueᵀ + bias` with operands as ``product`` says; `[..., N]` for `x` of `[..., K]`.
  public func linear(_ x: LinearInput, bias: Parameter? = nil) -> Tensor {
    switch product {
    case .compute: Tensor.linear(x.rows, weight: value, bias: bias?.value)
    case .float8(let products):
      Tensor.float8Linear(
        x.rows, weight: value, quantized: quantized, bias: bias?.value, rows: x.quantized,
        products: products)
    }
  }

  /// The same of `silu(gate) * up`, for rows `[gate, up]`, `[R, 2 K]`: float8 products quantise what
  /// SwiGLU makes without writing it.
  public func linear(swiGLUOf gateUp: Tensor, bias: Parameter? = nil) -> Tensor {
    switch product {
    case .compute: Tensor.linear(gateUp.swiGLU(), weight: value, bias: bias?.value)
    case .float8(let products):
      gateUp.float8SwiGLULinear(
        weight: value, quantized: quantized, bias: bias?.value, products: products)
    }
  }

  /// The rows of each expert times the transpose of its matrix; `[R, N]` for rows `[R, K]`.
  ///
  /// `offsetsE` are the ends of the experts' rows.
  public func groupedLinear(_ rowsRK: Tensor, offsetsE: Tensor) -> Tensor {
    switch product {
    case .compute: rowsRK.groupedLinear(weight: value, offsets: offsetsE)
    case .float8(let products):
      rowsRK.float8GroupedLinear(
        weight: value, quantized: quantized, offsets: offsetsE, products: products)
    }
  }

  /// The same of `silu(gate) * up`, for rows `[gate, up]`, `[R, 2 K]`.
  public func groupedLinear(swiGLUOf gateUp: Tensor, offsetsE: Tensor) -> Tensor {
    switch product {
    case .compute: gateUp.swiGLU().groupedLinear(weight: value, offsets: offsetsE)
    case .float8(let products):
      gateUp.float8SwiGLULinear(
        weight: value, quantized: quantized, offsets: offsetsE, products: products)
    }
  }
}

/// The head's products, without gradients of libtorch's: the loss makes them itself, chunk by chunk.
struct HeadProducts {
  private let headVD: Tensor
  /// The head, quantised once for all chunks, and who multiplies it; nil in the compute dtype.
  private let float8: (quantized: Float8Tensor, products: Float8Products)?

  init(_ headVD: Tensor, _ product: Parameter.Product, _ quantizedVD: Float8Tensor?) {
    self.headVD = headVD
    float8 =
      switch product {
      case .compute: nil
      case .float8(let products): (quantizedVD ?? headVD.quantizedInBlocks(), products)
      }
  }

  /// `[C, V]`.
  func logits(_ hiddenCD: Tensor) -> Tensor {
    guard let float8 else { return Tensor.linear(hiddenCD, weight: headVD) }
    return hiddenCD.quantizedInRows().product(float8.quantized, products: float8.products)
  }

  /// `[C, D]`.
  func hiddenGradient(_ gradientCV: Tensor) -> Tensor {
    guard let float8 else { return gradientCV.product(headVD) }
    return gradientCV.quantizedInRows().product(
      float8.quantized.transposed(), products: float8.products)
  }

  /// Adds the head's gradient, `[V, D]`, to a float32 sum.
  func addGradient(_ gradientCV: Tensor, _ hiddenCD: Tensor, to sumVD: Tensor) {
    guard let float8 else { return sumVD.addProduct(gradientCV.transposed(), hiddenCD) }
    sumVD.add(
      gradientCV.quantizedInColumns().weightGradient(
        hiddenCD.quantizedInColumns(), dtype: .float32, products: float8.products))
  }
}
