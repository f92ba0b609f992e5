import Foundation
import Torch
import XTunerNN

@testable import XTunerTrainer
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine

/// A matrix in float64, with products as plain loops.
struct PlainMatrix {
  let rows: Int
  let columns: Int
  var values: [Double]

  init(rows: Int, columns: Int, values: [Double]) {
    precondition(values.count == rows * columns)
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix of the elements of a tensor, or of one in a stack of them.
  init(_ tensor: Tensor) {
    self.init(
      rows: tensor.size(0), columns: tensor.size(1), values: tensor.floats().map { Double($0) })
  }

  subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  var transposed: PlainMatrix {
    var result = PlainMatrix(rows: columns, columns: rows, values: values)
    for row in 0..<rows {
      for column in 0..<columns { result[column, row] = self[row, column] }
    }
    return result
  }

  var tensor: Tensor { Tensor(values.map { Float($0) }, shape: [rows, columns]) }

  func map(_ transform: (Double) -> Double) -> PlainMatrix {
    PlainMatrix(rows: rows, columns: columns, values: values.map(transform))
  }

  static func * (a: PlainMatrix, b: PlainMatrix) -> PlainMatrix {
    precondition(a.columns == b.rows)
    var result = PlainMatrix(
      rows: a.rows, columns: b.columns, values: Array(repeating: 0, count: a.rows * b.columns))
    for row in 0..<a.rows {
      for column in 0..<b.columns {
        for inner in 0..<a.columns { result[row, column] += a[row, inner] * b[inner, column] }
      }
    }
    return result
  }

  static func + (a: PlainMatrix, b: PlainMatrix) -> PlainMatrix {
    PlainMatrix(rows: a.rows, columns: a.columns, values: zip(a.values, b.values).map(+))
  }

  /// Five Newton-Schulz steps as Keller Jordan publishes them.
  var orthogonalized: PlainMatrix {
    guard rows <= columns else { return transposed.orthogonalized.transposed }
    let norm = max(values.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-7)
    var x = map { $0 / norm }
    for _ in 0..<5 {
      let a = x * x.transposed
      let b = a.map { -4.7750 * $0 } + (a * a).map { 2.0315 * $0 }
      x = x.map { 3.4445 * $0 } + b * x
    }
    return x
  }

  /// `columns` orthonormal columns: Gram-Schmidt on normal numbers.
  static func orthonormal(rows: Int, columns: Int, seed: UInt64) -> PlainMatrix {
    var result = PlainMatrix(
      Tensor.randomNormal([rows, columns], generator: Generator(seed: seed), dtype: .float32))
    for column in 0..<columns {
      // Twice, so that rounding of the first time goes too.
      for other in Array(0..<column) + Array(0..<column) {
        let along = (0..<rows).reduce(0) { $0 + result[$1, column] * result[$1, other] }
        for row in 0..<rows { result[row, column] -= along * result[row, other] }
      }
      let norm = (0..<rows).reduce(0) { $0 + result[$1, column] * result[$1, column] }.squareRoot()
      for row in 0..<rows { result[row, column] /= norm }
    }
    return result
  }
}

/// The rules that a step of Muon follows, in float64: one matrix or vector at a time.
struct PlainMuon {
  var weights: [Double]
  private var first: [Double]
  private var second: [Double]
  private var step = 0

  init(_ weights: [Double]) {
    self.weights = weights
    first = weights.map { _ in 0 }
    second = first
  }

  /// Muon on a matrix of `rows` rows.
  mutating func stepAsMatrix(
    rows: Int, gradient: [Double], rate: Double, decay: Double, momentum: Double, nesterov: Bool
  ) {
    first = zip(first, gradient).map { momentum * $0 + (1 - momentum) * $1 }
    let direction =
      nesterov ? zip(first, gradient).map { momentum * $0 + (1 - momentum) * $1 } : first
    let columns = weights.count / rows
    let update = PlainMatrix(rows: rows, columns: columns, values: direction).orthogonalized
    let scale = 0.2 * Double(max(rows, columns)).squareRoot()
    weights = zip(weights, update.values).map { $0 - rate * (scale * $1 + decay * $0) }
  }

  /// AdamW.
  mutating func stepAsVector(
    gradient: [Double], rate: Double, decay: Double, beta1: Double, beta2: Double, epsilon: Double
  ) {
    step += 1
    first = zip(first, gradient).map { beta1 * $0 + (1 - beta1) * $1 }
    second = zip(second, gradient).map { beta2 * $0 + (1 - beta2) * $1 * $1 }
    let (c1, c2) = (1 - pow(beta1, Double(step)), 1 - pow(beta2, Double(step)))
    for index in weights.indices {
      let update = first[index] / c1 / ((second[index] / c2).squareRoot() + epsilon)
      weights[index] -= rate * (update + decay * weights[index])
    }
  }
}
