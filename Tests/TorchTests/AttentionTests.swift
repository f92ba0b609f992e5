import Testing
import Torch

/// `varlenAttention` against its reference.
@Suite struct AttentionTests {
  struct Pack: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var lengths: [Int]

    var tokenCount: Int { lengths.reduce(0, +) }
    var bounds: Tensor {
      var edges: [Int64] = [0]
      for length in lengths { edges.append(edges[edges.count - 1] + Int64(length)) }
      return Tensor(edges)
    }
  }

  static let packs = [
    Pack(testDescription: "no sample", lengths: []),
    Pack(testDescription: "empty samples", lengths: [0, 0]),
    Pack(testDescription: "one token", lengths: [1]),
    Pack(testDescription: "one sample", lengths: [67]),
    Pack(testDescription: "primes with empty ones", lengths: [0, 7, 0, 31, 1, 0, 17, 0]),
    Pack(testDescription: "many short", lengths: (0..<41).map { $0 % 6 }),
    Pack(testDescription: "one long among short", lengths: [3, 1, 331, 2, 5]),
  ]

  struct Variant: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var heads = 4
    var keyHeads = 2
    var headSize = 64
    var valueSize: Int?
    var window: Int?
    var hasSinks = false
  }

  static let variants = [
    Variant(testDescription: "as many key heads", heads: 3, keyHeads: 3),
    Variant(testDescription: "two query heads a key head"),
    Variant(testDescription: "four query heads a key head", heads: 8),
    Variant(testDescription: "head size 128", headSize: 128),
    Variant(testDescription: "head size 40", headSize: 40),
    Variant(testDescription: "head size 13", headSize: 13),
    Variant(testDescription: "window", window: 5),
    Variant(testDescription: "window of one", window: 1),
    Variant(testDescription: "window beyond sample", window: 1000),
    Variant(testDescription: "sinks", hasSinks: true),
    Variant(testDescription: "window and sinks", window: 19, hasSinks: true),
    Variant(testDescription: "narrow values", headSize: 48, valueSize: 32),
  ]

  /// Lengths around the tiles of the bfloat16 kernels: 32, 64 and 128 keys, 64 queries.
  static let tilePacks: [Pack] =
    [31, 33, 61, 63, 64, 65, 127, 128, 129, 257].map {
      Pack(testDescription: "\($0) tokens", lengths: [$0])
    } + [Pack(testDescription: "whole tiles among primes", lengths: [0, 64, 1, 131, 0, 13, 128])]

  /// Head sizes that fill vectors and that do not, windows around the tiles.
  static let tileVariants = [
    Variant(testDescription: "one query head a key head", heads: 3, keyHeads: 3),
    Variant(testDescription: "four query heads a key head", heads: 8),
    Variant(testDescription: "eight query heads a key head", heads: 8, keyHeads: 1),
    Variant(testDescription: "one element", heads: 2, keyHeads: 1, headSize: 1),
    Variant(testDescription: "head size 16", headSize: 16),
    Variant(testDescription: "head size 40", headSize: 40),
    Variant(testDescription: "head size 80", headSize: 80),
    Variant(testDescription: "head size 128", headSize: 128),
    Variant(testDescription: "latent attention", keyHeads: 4, headSize: 192, valueSize: 128),
    Variant(testDescription: "odd sizes", keyHeads: 1, headSize: 17, valueSize: 31, window: 37),
    Variant(testDescription: "window of one", window: 1),
    Variant(testDescription: "window of 63", window: 63),
    Variant(testDescription: "window of 64", window: 64),
    Variant(testDescription: "window of 65 and sinks", window: 65, hasSinks: true),
    Variant(testDescription: "window of 129", window: 129),
    Variant(testDescription: "sinks", hasSinks: true),
  ]

  static func inputs(_ variant: Variant, tokens: Int, dtype: DType) -> [Tensor] {
    let generator = Generator(seed: 3)
    func random(_ heads: Int, _ width: Int) -> Tensor {
      randomTensor([tokens, heads, width], dtype: dtype, generator: generator)
    }
    let tensors = [
      random(variant.heads, variant.headSize), random(variant.keyHeads, variant.headSize),
      random(variant.keyHeads, variant.valueSize ?? variant.headSize),
    ]
    return variant.hasSinks
      ? tensors + [randomTensor([variant.heads], generator: generator)] : tensors
  }

  static func attention(
    _ inputs: [Tensor], _ variant: Variant, bounds: Tensor, _ implementation: Implementation
  ) -> Tensor {
    Tensor.varlenAttention(
      query: inputs[0], key: inputs[1], value: inputs[2], bounds: bounds, scale: 0.11,
      window: variant.window, sinks: inputs.count > 3 ? inputs[3] : nil,
      implementation: implementation)
  }

  @Test(arguments: packs, variants)
  func equalsReference(pack: Pack, variant: Variant) {
    // Without tokens only the value has a meaning: the reference's is outside the graph.
    guard pack.tokenCount > 0 else {
      let inputs = Self.inputs(variant, tokens: 0, dtype: .float32)
      let out = Self.attention(inputs, variant, bounds: pack.bounds, .kernel)
      #expect(out.shape == [0, variant.heads, variant.valueSize ?? variant.headSize])
      return
    }
    for dtype in [DType.float32, .bfloat16] {
      let inputs = Self.inputs(variant, tokens: pack.tokenCount, dtype: dtype)
      expectKernelEqualsReference(inputs, tolerance: .of(dtype)) {
        Self.attention($0, variant, bounds: pack.bounds, $1)
      }
    }
  }

  // In bfloat16 probabilities and the gradients of scores are rounded before they are multiplied, and
  // sums are in float32. The largest error seen is two thirds of the tolerance.
  @Test(arguments: tilePacks, tileVariants)
  func tilesEqualReference(pack: Pack, variant: Variant) {
    let inputs = Self.inputs(variant, tokens: pack.tokenCount, dtype: .bfloat16)
    expectKernelEqualsReference(inputs, tolerance: .of(.bfloat16)) {
      Self.attention($0, variant, bounds: pack.bounds, $1)
    }
  }

  // Rows of queries, keys and values are then neither dense nor at multiples of a cache line.
  @Test(arguments: [13, 16, 40, 64])
  func tilesOfOneProjectionEqualReference(width: Int) {
    let joint = randomTensor(
      [199, 4 + 2 + 2, width], dtype: .bfloat16, generator: Generator(seed: 5))
    expectKernelEqualsReference([joint], tolerance: .of(.bfloat16)) { inputs, implementation in
      let parts = inputs[0].split(sizes: [4, 2, 2], dim: 1)
      return Tensor.varlenAttention(
        query: parts[0], key: parts[1], value: parts[2], bounds: Tensor([0, 67, 199] as [Int64]),
        scale: 0.25, implementation: implementation)
    }
  }

  @Test func threadsDoNotChangeTheBitsOfTiles() async {
    // In a process of its own: the number of threads is the process's.
    await #expect(processExitsWith: .success) {
      let pack = Pack(testDescription: "", lengths: [523, 0, 64, 7, 129])
      for index in [1, 8, 13] {
        let variant = AttentionTests.tileVariants[index]
        let inputs = AttentionTests.inputs(variant, tokens: pack.tokenCount, dtype: .bfloat16)
        func run(threads: Int) -> Outcome {
          Torch.setThreadCount(threads)
          return Outcome(inputs) {
            AttentionTests.attention($0, variant, bounds: pack.bounds, .kernel)
          }
        }
        let one = run(threads: 1)
        for threads in [2, 7] { expectSameBits(one, run(threads: threads)) }
      }
    }
  }

  @Test(arguments: [0, 1, 2])
  func nanReachesWhoSeesIt(input: Int) {
    let variant = Variant(testDescription: "", heads: 2, keyHeads: 2)
    let inputs = Self.inputs(variant, tokens: 199, dtype: .bfloat16)
    inputs[input].selected(dim: 0, index: 140).fill(.real(.nan))
    let out = Self.attention(
      inputs, variant, bounds: Tensor([0, 67, 199] as [Int64]), .kernel
    ).floats()
    let width = out.count / 199
    for token in 0..<67 { #expect(!out[token * width].isNaN, "token \(token)") }
    // A query is seen by itself only.
    for token in input == 0 ? 140..<141 : 140..<199 {
      let isNaN = out[token * width..<(token + 1) * width].allSatisfy { $0.isNaN }
      #expect(isNaN, "token \(token)")
    }
  }

  // Where bfloat16 has no kernel long samples go through libtorch's flash attention where it fits.
  @Test(arguments: [variants[1], variants[10]])
  func longSampleEqualsReference(variant: Variant) {
    let pack = Pack(testDescription: "", lengths: [3, 1031, 0, 7])
    for dtype in [DType.float32, .bfloat16] {
      let inputs = Self.inputs(variant, tokens: pack.tokenCount, dtype: dtype)
      expectKernelEqualsReference(inputs, tolerance: .of(dtype)) {
        Self.attention($0, variant, bounds: pack.bounds, $1)
      }
    }
  }

  @Test(arguments: variants)
  func float64EqualsReference(variant: Variant) {
    let pack = Self.packs[4]
    let inputs = Self.inputs(variant, tokens: pack.tokenCount, dtype: .float64)
    expectKernelEqualsReference(inputs, tolerance: .of(.float64)) {
      Self.attention($0, variant, bounds: pack.bounds, $1)
    }
  }

  @Test(arguments: variants)
  func tokensSeeOnlyTheirSampleAndTheirPast(variant: Variant) {
    let pack = Pack(testDescription: "", lengths: [5, 0, 11, 3])
    let inputs = Self.inputs(variant, tokens: 19, dtype: .float32)
    let before = Self.attention(inputs, variant, bounds: pack.bounds, .kernel).floats()
    // Another token 9, the fifth of the second sample.
    for tensor in inputs.prefix(3) { tensor.selected(dim: 0, index: 9).fill(0.5) }
    let after = Self.attention(inputs, variant, bounds: pack.bounds, .kernel).floats()
    let width = after.count / 19
    func isSame(_ token: Int) -> Bool {
      before[token * width..<(token + 1) * width] == after[token * width..<(token + 1) * width]
    }
    for token in Array(0..<9) + [16, 17, 18] { #expect(isSame(token), "token \(token)") }
    for token in 9..<min(16, 9 + (variant.window ?? 7)) { #expect(!isSame(token), "\(token)") }
  }

  @Test func takesViewsOfOneProjection() {
    let generator = Generator(seed: 4)
    let joint = randomTensor([23, 4 + 2 + 2, 16], generator: generator)
    func run(_ implementation: Implementation) -> Outcome {
      Outcome([joint]) { inputs in
        let parts = inputs[0].split(sizes: [4, 2, 2], dim: 1)
        return Tensor.varlenAttention(
          query: parts[0], key: parts[1], value: parts[2], bounds: Tensor([0, 7, 23] as [Int64]),
          scale: 0.25, implementation: implementation)
      }
    }
    let (kernel, reference) = (run(.kernel), run(.reference))
    expectClose(kernel.value, reference.value, absolute: 2e-5, relative: 2e-5)
    expectClose(
      kernel.inputGradients[0], reference.inputGradients[0], absolute: 2e-5, relative: 2e-5)
  }

  @Test func sinkTakesWeightAndGivesNoValue() {
    let ones = Tensor.ones([1, 1, 16])
    let out = Tensor.varlenAttention(
      query: ones, key: ones, value: ones, bounds: Tensor([0, 1] as [Int64]), scale: 1 / 16,
      sinks: Tensor([1] as [Float]))
    // Score 1 and sink 1: half of the weight each.
    expectClose(out, Tensor.full([1, 1, 16], value: 0.5), absolute: 1e-6, relative: 0)
  }

  @Test(arguments: [packs[4], packs[5], packs[6]])
  func twoRunsAreEqualToTheLastBit(pack: Pack) {
    let variant = Variant(testDescription: "")
    let inputs = Self.inputs(variant, tokens: pack.tokenCount, dtype: .bfloat16)
    let run = {
      Outcome(inputs) { Self.attention($0, variant, bounds: pack.bounds, .kernel) }
    }
    expectSameBits(run(), run())
  }
}
