import Testing
import Torch

/// Normal numbers of mean 0.
func randomTensor(
  _ shape: [Int], dtype: DType = .float32, deviation: Double = 1, generator: Generator
) -> Tensor {
  (Tensor.randomNormal(shape, generator: generator) * deviation).to(dtype)
}

/// Expects equal shapes and every element within `absolute + relative * |expected|`.
///
/// The message shows the worst element. NaN is never close.
func expectClose(
  _ actual: Tensor, _ expected: Tensor, absolute: Double, relative: Double,
  _ what: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  guard actual.shape == expected.shape else {
    Issue.record(
      "\(what()) has shape \(actual.shape), expected \(expected.shape)",
      sourceLocation: sourceLocation)
    return
  }
  let a = actual.to(.float64).elements(as: Double.self)
  let b = expected.to(.float64).elements(as: Double.self)
  var worst: (index: Int, excess: Double) = (0, -.infinity)
  for index in a.indices {
    let excess = abs(a[index] - b[index]) - (absolute + relative * abs(b[index]))
    if !(excess <= worst.excess) { worst = (index, excess.isNaN ? .infinity : excess) }
  }
  guard worst.excess > 0 else { return }
  Issue.record(
    """
    \(what()) element \(worst.index) of \(actual.shape) is \(a[worst.index]), expected \
    \(b[worst.index]) within \(absolute) + \(relative) x |expected|
    """, sourceLocation: sourceLocation)
}

/// The bytes of a contiguous copy, for comparisons to the last bit.
func bytes(_ tensor: Tensor) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: tensor.byteCount)
  bytes.withUnsafeMutableBytes { tensor.copyBytes(to: $0) }
  return bytes
}
