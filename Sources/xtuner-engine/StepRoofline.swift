/// The shortest step of `bench step`'s model that rates of matrix products and memory allow.
///
/// The same sum as in `benchmarks/peers/limits.py`: every product at the rate of its shape,
/// attention at the rate of its products (seven of them, as scores are computed again), AdamW on
/// bf16 weights at memory speed, and no time at all for everything else.
struct StepRoofline {
  var linearSeconds: Double
  var attentionSeconds: Double
  var optimizerSeconds: Double
  var tokensPerSecond: Double

  private static let parameterCount = 139.6e6

  /// - Parameters:
  ///   - rates: FLOP/s in bf16 by the name of a shape of `MatrixProductShape.ofBenchmarkModel`.
  ///   - bandwidth: Bytes/s of memory.
  ///   - length: Tokens of the pack.
  init(rates: [String: Double], bandwidth: Double, length: Int) {  // own names
    let (layers, hidden, heads, vocabulary) = (8.0, 512.0, 512.0, 32768.0)
    let (expertsPerToken, expertSize, experts, queryKeyValue) = (4.0, 256.0, 32.0, 768.0)
    func rate(_ name: String) -> Double { rates[name] ?? .nan }
    let weights = [
      ("qkv", layers * hidden * queryKeyValue), ("o", layers * hidden * heads),
      ("expert up", layers * expertsPerToken * hidden * 2 * expertSize),
      ("expert down", layers * expertsPerToken * hidden * expertSize),
      ("head", vocabulary * hidden),
    ]
    let tokens = Double(length)
    linearSeconds = weights.reduce(0) { sum, weight in
      let passes = ["fwd", "dx", "dw"].reduce(0) { $0 + 1 / rate("\(weight.0) \($1)") }
      return sum + 2 * tokens * weight.1 * passes
    }
    linearSeconds += 3 * 2 * tokens * layers * hidden * experts / rate("router fwd")
    let scores = max(rate("attention qk"), rate("attention qk tile"))
    let sums = max(rate("attention pv"), rate("attention pv tile"))
    attentionSeconds =
      7 * layers * tokens * tokens * heads * (1 / scores + 1 / sums) / 2
    optimizerSeconds = Self.parameterCount * 16 / bandwidth
    tokensPerSecond = tokens / (linearSeconds + attentionSeconds + optimizerSeconds)
  }
}
