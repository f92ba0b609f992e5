import Torch
import XTunerSystem
import XTunerTrainer

/// A matrix product `[m, k] x [k, n]`, of which a step computes several in a row.
struct MatrixProductShape {
  var name: String
  var m: Int
  var k: Int
  var n: Int
  /// Whether an operand lies in memory as its transpose, as the weight of a linear layer does.
  var isLeftTransposed = false
  var isRightTransposed = false
  var count = 1

  /// The best rate of at least two rounds, FLOP/s.
  func rate(_ dtype: DType, seconds: Double) -> Double {
    withoutGradients {
      let generator = Generator(seed: 1)
      func matrix(_ rows: Int, _ columns: Int, isTransposed: Bool) -> Tensor {
        let shape = isTransposed ? [columns, rows] : [rows, columns]
        let matrix = Tensor.randomNormal(shape, generator: generator, dtype: .float32).to(dtype)
        return isTransposed ? matrix.transposed() : matrix
      }
      let pairs = (0..<count).map { _ in
        (
          matrix(m, k, isTransposed: isLeftTransposed),
          matrix(k, n, isTransposed: isRightTransposed)
        )
      }
      // Results are written over: the page faults of new memory are no part of a product.
      let outputs = pairs.map { _ in Tensor.zeros([m, n], dtype: dtype) }
      let clock = ContinuousClock()
      let end = clock.now + .seconds(seconds)
      var best = Double.infinity
      repeat {
        let time = clock.measure {
          for ((left, right), output) in zip(pairs, outputs) {
            output.addMatrixProduct(left, right, beta: 0)
          }
        }
        best = min(best, time.seconds)
      } while clock.now < end
      return 2 * Double(m) * Double(k) * Double(n) * Double(count) / best
    }
  }

  /// Forward, input gradient and weight gradient of each projection of `bench step`'s model, for
  /// 2048 tokens and evenly loaded experts.
  static var ofBenchmarkModel: [MatrixProductShape] {
    let (tokens, hidden, experts, expertSize, vocabulary) = (2048, 512, 32, 256, 32768)
    let (query, keyAndValue) = (512, 256)
    let perExpert = tokens * 4 / experts
    var shapes = [
      MatrixProductShape(name: "square 2048", m: 2048, k: 2048, n: 2048),
      MatrixProductShape(
        name: "router fwd", m: tokens, k: hidden, n: experts, isRightTransposed: true),
    ]
    shapes += linear("qkv", tokens, hidden, query + keyAndValue)
    shapes += linear("o", tokens, query, hidden)
    shapes += linear("expert up", perExpert, hidden, 2 * expertSize, count: experts)
    shapes += linear("expert down", perExpert, expertSize, hidden, count: experts)
    shapes += linear("head", tokens, hidden, vocabulary)
    // Eight heads of 64, whole and in tiles, as if attention were plain products.
    for (suffix, queries, keys, count) in [("", 2048, 2048, 8), (" tile", 256, 512, 32)] {
      shapes.append(
        .init(
          name: "attention qk\(suffix)", m: queries, k: 64, n: keys, isRightTransposed: true,
          count: count))
      shapes.append(
        .init(name: "attention pv\(suffix)", m: queries, k: keys, n: 64, count: count))
    }
    return shapes
  }

  private static func linear(
    _ name: String, _ rows: Int, _ inputs: Int, _ outputs: Int, count: Int = 1
  ) -> [MatrixProductShape] {
    [
      .init(
        name: "\(name) fwd", m: rows, k: inputs, n: outputs, isRightTransposed: true, count: count),
      .init(name: "\(name) dx", m: rows, k: outputs, n: inputs, count: count),
      .init(
        name: "\(name) dw", m: outputs, k: rows, n: inputs, isLeftTransposed: true, count: count),
    ]
  }
}
