package import Torch

// Shape legend for this file:
//   N matrices   R rows   C columns   S the smaller of R and C   L the larger

/// Brings the singular values of matrices near 1 and keeps their singular vectors, without a
/// decomposition.
///
/// Each step applies `a x + b x^3 + c x^5` to the singular values, as matrix products. The
/// coefficients are those of Keller Jordan's Muon: they are steep at 0 and do not converge to 1, but
/// to values from about 0.7 to 1.2, which is as good for training.
package struct NewtonSchulz: Sendable, Hashable {
  /// Of the odd polynomial of fifth order, as published with Muon.
  static let coefficients = (first: 3.4445, third: -4.7750, fifth: 2.0315)
  /// The least Frobenius norm that a matrix is divided by, so that zeros stay zeros.
  static let epsilon = 1e-7

  /// 5 lift singular values from about 1/500 of the Frobenius norm.
  package var stepCount: Int

  /// An iteration of `stepCount` steps.
  package init(stepCount: Int = 5) {
    self.stepCount = stepCount
  }

  /// The matrices of `[N, R, C]` with singular values near 1, in `dtype`.
  ///
  /// The norm is taken in float32, products in `dtype`: bfloat16 is exact enough. Matrices of zeros
  /// stay zeros.
  package func orthogonalized(_ matricesNRC: Tensor, dtype: DType) -> Tensor {
    let numbersNRC = matricesNRC.to(.float32)
    let norms = numbersNRC.vectorNorm(dims: [1, 2], keepDim: true)
    norms.clamp(min: .real(Self.epsilon))
    // The Frobenius norm is at least the largest singular value, so all of them start below 1.
    let scaledNRC = numbersNRC.divided(by: norms).to(dtype)
    let isTall = matricesNRC.size(1) > matricesNRC.size(2)
    var xNSL = isTall ? scaledNRC.transposed(1, 2) : scaledNRC
    let (first, third, fifth) = Self.coefficients
    for _ in 0..<stepCount {
      let gramNSS = xNSL.batchedMatrixProduct(xNSL.transposed(1, 2))
      // Sums are rounded once: x comes out of terms several times as large that cancel.
      let polynomialNSS = gramNSS.addingBatchedMatrixProduct(
        gramNSS, gramNSS, beta: .real(third), alpha: .real(fifth))
      xNSL = xNSL.addingBatchedMatrixProduct(polynomialNSS, xNSL, beta: .real(first))
    }
    return isTall ? xNSL.transposed(1, 2) : xNSL
  }
}
