import Torch
import XTunerCommands
import XTunerRun
import XTunerTokenizers

/// `xtuner bench gemm`: what the machine could do at best.
enum BenchGemmHandler {
  private typealias ShapeRate = (shape: MatrixProductShape, bfloat16: Double, float32: Double)

  /// A kernel of ours: FLOP/s forward and in both passes.
  private typealias KernelRate = (name: String, forward: Double, both: Double)

  private static let lengths = [2048, 8192]

  static func run(_ command: BenchGemmCommand) {
    if let threads = command.threads.count { Torch.setThreadCount(threads) }
    let rates = MatrixProductShape.ofBenchmarkModel.map { shape -> ShapeRate in
      Output.note(shape.name)
      return (
        shape: shape, bfloat16: shape.rate(.bfloat16, seconds: command.seconds),
        float32: shape.rate(.float32, seconds: command.seconds)
      )
    }
    Output.note("our kernels")
    var kernels = [("grouped, even", 0.0), ("grouped, uneven", 0.5)].map { name, spread in
      let rate = MachineLimits.groupedRate(spread: spread, seconds: command.seconds)
      return (name: name, forward: rate.forward, both: rate.both)
    }
    for length in lengths {
      let rate = MachineLimits.attentionRate(length: length, seconds: command.seconds)
      kernels.append((name: "attention \(length)", forward: rate.forward, both: rate.both))
    }
    Output.note("memory")
    let bandwidth = MachineLimits.bandwidth()
    // own names
    let byName = Dictionary(uniqueKeysWithValues: rates.map { ($0.shape.name, $0.bfloat16) })
    let rooflines = lengths.map { length in
      (
        length: length,
        roofline: StepRoofline(rates: byName, bandwidth: bandwidth.update, length: length)
      )
    }
    if command.result.isJSON {
      writeJSON(rates, kernels, bandwidth, rooflines)
    } else {
      writeText(rates, kernels, bandwidth, rooflines)
    }
  }

  private static func writeText(
    _ rates: [ShapeRate], _ kernels: [KernelRate], _ bandwidth: MachineLimits.Bandwidth,
    _ rooflines: [(length: Int, roofline: StepRoofline)]
  ) {
    let text = { (rate: Double) in NumberFormat.si(rate) }
    Output.write("m x k x n, times count; bf16 and f32, \(Torch.threadCount) threads")
    Output.write(
      rows: rates.map { rate in
        let shape = rate.shape
        return (
          "\(shape.name)  \(shape.m) x \(shape.k) x \(shape.n), \(shape.count)",
          "\(text(rate.bfloat16))FLOP/s  \(text(rate.float32))FLOP/s"
        )
      })
    Output.write("\nour kernels in bf16: forward, forward and backward")
    Output.write(
      rows: kernels.map { ($0.name, "\(text($0.forward))FLOP/s  \(text($0.both))FLOP/s") })
    Output.write("\nmemory")
    Output.write(rows: [
      ("copy", "\(text(bandwidth.copy))B/s"), ("a += 3 b", "\(text(bandwidth.update))B/s"),
      ("read", "\(text(bandwidth.read))B/s"),
    ])
    Output.write("\nrealistic roofline of bench step")
    Output.write(
      rows: rooflines.map { length, roofline in
        let parts = [
          ("products", roofline.linearSeconds), ("attention", roofline.attentionSeconds),
          ("optimizer", roofline.optimizerSeconds),
        ].map { "\($0) \(($1 * 1000).rounded() / 1000) s" }.joined(separator: ", ")
        return (
          "\(length) tokens", "\(Int(roofline.tokensPerSecond.rounded())) tokens/s: \(parts)"
        )
      })
  }

  private static func writeJSON(
    _ rates: [ShapeRate], _ kernels: [KernelRate], _ bandwidth: MachineLimits.Bandwidth,
    _ rooflines: [(length: Int, roofline: StepRoofline)]
  ) {
    let shapes = rates.map { rate in
      JSONValue.members([
        "name": .string(rate.shape.name), "m": .integer(rate.shape.m),
        "k": .integer(rate.shape.k), "n": .integer(rate.shape.n),
        "count": .integer(rate.shape.count), "bf16_gflops": .number(rate.bfloat16 / 1e9),
        "f32_gflops": .number(rate.float32 / 1e9),
      ])
    }
    Output.write([
      "bench": "gemm", "libtorch": .string(Torch.version), "threads": .integer(Torch.threadCount),
      "bf16_peak_gflops": .number((rates.map(\.bfloat16).max() ?? 0) / 1e9),
      "f32_peak_gflops": .number((rates.map(\.float32).max() ?? 0) / 1e9),
      "shapes": .array(shapes),
      "kernels": .array(
        kernels.map { kernel in
          .members([
            "name": .string(kernel.name), "forward_gflops": .number(kernel.forward / 1e9),
            "both_gflops": .number(kernel.both / 1e9),
          ])
        }),
      "memory_gb_per_second": .members([
        "copy": .number(bandwidth.copy / 1e9), "update": .number(bandwidth.update / 1e9),
        "read": .number(bandwidth.read / 1e9),
      ]),
      "roofline": .array(
        rooflines.map { length, roofline in
          .members([
            "sequence_length": .integer(length),
            "tokens_per_second": .number(roofline.tokensPerSecond),
            "linear_s": .number(roofline.linearSeconds),
            "attention_s": .number(roofline.attentionSeconds),
            "optimizer_s": .number(roofline.optimizerSeconds),
          ])
        }),
    ])
  }
}
