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

  // Long samples go through libtorch's flash attention where it fits.
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
