import Torch
import XTunerEngine
import XTunerSystem

/// What this machine does at best, measured in this process.
enum MachineLimits {
  /// Memory bandwidth, bytes/s: each byte read and each byte written counted.
  struct Bandwidth {
    /// `b = a`.
    var copy: Double
    /// `a += 3 b`: two reads and a write.
    var update: Double
    /// The sum of `a`.
    var read: Double
  }

  /// The best rate of 2048-cubed bfloat16 matrix products, FLOP/s: libtorch's or ours, of 20 rounds.
  static func matrixProductPeak() -> Double {
    Throughput.matrixProductPeak(dtype: .bfloat16, size: 2048, rounds: 20, limit: .seconds(2))
  }

  /// Float32 arrays of 512 MiB, far beyond any cache; the best of seven rounds.
  static func bandwidth() -> Bandwidth {
    withoutGradients {
      let count = 1 << 27
      let a = Tensor.zeros([count], dtype: .float32)
      let b = Tensor.zeros([count], dtype: .float32)
      a.fill(1)
      b.fill(1)
      let bytes = 4 * Double(count)
      return Bandwidth(
        copy: 2 * bytes / bestSeconds(rounds: 7) { b.copy(from: a) },
        update: 3 * bytes / bestSeconds(rounds: 7) { a.add(b, alpha: 3) },
        read: bytes / bestSeconds(rounds: 7) { _ = a.sum() })
    }
  }

  /// Our grouped product of `bench step`'s experts, `[rows, 512]` times 32 of `[512, 512]`,
  /// FLOP/s forward and in both passes; `spread` is how far row counts are from even.
  static func groupedRate(spread: Double, seconds: Double) -> (forward: Double, both: Double) {
    let (experts, perExpert, hidden, outputs) = (32, 256, 512, 512)
    let generator = Generator(seed: 1)
    // Row counts that rise from expert to expert and add up to the same, in an order that jumps.
    var counts = (0..<experts).map { index -> Int in
      let place = Double(index * 13 % experts) / Double(experts - 1) * 2 - 1
      return perExpert + Int(spread * place * Double(perExpert))
    }
    counts[0] += experts * perExpert - counts.reduce(0, +)
    var end: Int64 = 0
    let ends = counts.map { count -> Int64 in
      end += Int64(count)
      return end
    }
    let offsets = Tensor(ends, shape: [experts])
    let (x, weight) = (
      Tensor.randomNormal([experts * perExpert, hidden], generator: generator, dtype: .float32)
        .to(.bfloat16),
      Tensor.randomNormal([experts, outputs, hidden], generator: generator, dtype: .float32)
        .to(.bfloat16)
    )
    x.setRequiresGradient()
    weight.setRequiresGradient()
    let gradient = x.detached().cloned()
    let operations = 2 * Double(experts * perExpert) * Double(hidden) * Double(outputs)
    let forward = bestSeconds(seconds) {
      withoutGradients { _ = x.groupedLinear(weight: weight, offsets: offsets) }
    }
    let both = bestSeconds(seconds) {
      let y = x.groupedLinear(weight: weight, offsets: offsets)
      _ = gradients(of: [y], withRespectTo: [x, weight], outputGradients: [gradient])
    }
    return (operations / forward, 3 * operations / both)
  }

  /// Our attention over one sample, 8 heads of 64 with 2 of keys, FLOP/s of the causal half:
  /// forward 2 products, in both passes 7.
  static func attentionRate(length: Int, seconds: Double) -> (forward: Double, both: Double) {
    let generator = Generator(seed: 1)
    func normal(_ heads: Int) -> Tensor {
      let tensor = Tensor.randomNormal(
        [length, heads, 64], generator: generator, dtype: .float32
      ).to(.bfloat16)
      tensor.setRequiresGradient()
      return tensor
    }
    let (query, key, value) = (normal(8), normal(2), normal(2))
    let bounds = Tensor([Int64(0), Int64(length)], shape: [2])
    let product = 2 * Double(length) * Double(length) / 2 * 64 * 8
    func attend() -> Tensor {
      .varlenAttention(query: query, key: key, value: value, bounds: bounds, scale: 0.125)
    }
    let gradient = withoutGradients { attend() }
    let forward = bestSeconds(seconds) { withoutGradients { _ = attend() } }
    let both = bestSeconds(seconds) {
      _ = gradients(
        of: [attend()], withRespectTo: [query, key, value], outputGradients: [gradient])
    }
    return (2 * product / forward, 7 * product / both)
  }

  private static func bestSeconds(rounds: Int, _ body: () -> Void) -> Double {
    (0..<rounds).map { _ in ContinuousClock().measure(body).seconds }.min() ?? .infinity
  }

  /// The best of at least two rounds within `budget` seconds.
  private static func bestSeconds(_ budget: Double, _ body: () -> Void) -> Double {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(budget)
    body()
    var best = Double.infinity
    repeat { best = min(best, clock.measure(body).seconds) } while clock.now < end
    return best
  }
}
