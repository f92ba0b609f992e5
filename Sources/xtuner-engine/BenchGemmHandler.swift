import Torch
import XTunerCommands
import XTunerTokenizers
import XTunerTrainer

/// `xtuner bench gemm`.
enum BenchGemmHandler {
  static func run(_ command: BenchGemmCommand) {
    if let threads = command.threads { Torch.setThreadCount(threads) }
    let rates = MatrixProductShape.ofBenchmarkModel.map { shape in
      Output.note(shape.name)
      return (
        shape: shape, bfloat16: shape.rate(.bfloat16, seconds: command.seconds),
        float32: shape.rate(.float32, seconds: command.seconds)
      )
    }
    if command.json {
      let list = rates.map { rate in
        JSONValue.members([
          "name": .string(rate.shape.name), "m": .integer(rate.shape.m),
          "k": .integer(rate.shape.k), "n": .integer(rate.shape.n),
          "count": .integer(rate.shape.count), "bf16_gflops": .number(rate.bfloat16 / 1e9),
          "f32_gflops": .number(rate.float32 / 1e9),
        ])
      }
      return Output.write([
        "bench": "gemm", "libtorch": .string(Torch.version),
        "threads": .integer(Torch.threadCount),
        "bf16_peak_gflops": .number((rates.map(\.bfloat16).max() ?? 0) / 1e9),
        "f32_peak_gflops": .number((rates.map(\.float32).max() ?? 0) / 1e9), "shapes": .array(list),
      ])
    }
    Output.write("m x k x n, times count; GFLOP/s in bf16 and f32, \(Torch.threadCount) threads")
    Output.write(
      rows: rates.map { rate in
        let (shape, text) = (rate.shape, { (rate: Double) in NumberFormat.si(rate) })
        return (
          "\(shape.name)  \(shape.m) x \(shape.k) x \(shape.n), \(shape.count)",
          "\(text(rate.bfloat16))FLOP/s  \(text(rate.float32))FLOP/s"
        )
      })
  }
}

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
      let clock = ContinuousClock()
      let end = clock.now + .seconds(seconds)
      var best = Double.infinity
      repeat {
        let time = clock.measure { for (left, right) in pairs { _ = left.matrixProduct(right) } }
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
