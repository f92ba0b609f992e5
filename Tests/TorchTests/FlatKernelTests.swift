import Testing
import Torch

/// Kernels over flat buffers: AdamW, squared sums, gradients of an embedding.
@Suite struct FlatKernelTests {
  private struct State {
    let master, gradient, first, second: Tensor

    init(count: Int, seed: UInt64) {
      let generator = Generator(seed: seed)
      master = randomTensor([count], deviation: 0.5, generator: generator)
      gradient = randomTensor([count], generator: generator)
      first = randomTensor([count], deviation: 0.1, generator: generator)
      second = randomTensor([count], deviation: 0.01, generator: generator).absolute()
    }

    func step(_ step: Int, copy: Tensor? = nil, gradientScale: Double = 1) {
      Tensor.adamW(
        master: master, gradient: gradient, firstMoment: first, secondMoment: second, copy: copy,
        learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: step,
        gradientScale: gradientScale)
    }
  }

  @Test(arguments: [0, 1, 15, 16, 17, 1009, 50_021])
  func adamWEqualsATenKernel(count: Int) {
    let ours = State(count: count, seed: 3)
    let theirs = State(count: count, seed: 3)
    for step in 1...3 {
      ours.step(step)
      Tensor.fusedAdamW(
        parameters: [theirs.master], gradients: [theirs.gradient], firstMoments: [theirs.first],
        secondMoments: [theirs.second], maximumSecondMoments: [],
        // ATen's kernel counts the step after it has been incremented.
        steps: [Tensor([Float(step)], shape: [])], learningRate: 3e-3, beta1: 0.9, beta2: 0.95,
        weightDecay: 0.1, epsilon: 1e-8, isAMSGrad: false, isMaximizing: false)
    }
    expectClose(ours.master, theirs.master, absolute: 1e-6, relative: 2e-6)
    expectClose(ours.first, theirs.first, absolute: 1e-7, relative: 2e-6)
    expectClose(ours.second, theirs.second, absolute: 1e-7, relative: 2e-6)
  }

  @Test func adamWEqualsHandComputedSteps() {
    let weight = Tensor([0.5, -2] as [Float])
    let gradient = Tensor([0.25, 4] as [Float])
    let first = Tensor([0, 0] as [Float])
    let second = Tensor([0, 0] as [Float])
    var expected: [(w: Double, m: Double, v: Double)] = [(0.5, 0, 0), (-2, 0, 0)]
    let gradients = [0.25, 4.0]
    var power1 = 1.0
    var power2 = 1.0
    for step in 1...5 {
      Tensor.adamW(
        master: weight, gradient: gradient, firstMoment: first, secondMoment: second,
        learningRate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, step: step,
        gradientScale: 0.5)
      power1 *= 0.9
      power2 *= 0.99
      for i in 0..<2 {
        let g = gradients[i] * 0.5
        expected[i].w *= 1 - 0.01 * 0.1
        expected[i].m = 0.9 * expected[i].m + 0.1 * g
        expected[i].v = 0.99 * expected[i].v + 0.01 * g * g
        let denominator = (expected[i].v / (1 - power2)).squareRoot() + 1e-8
        expected[i].w -= 0.01 * (expected[i].m / (1 - power1)) / denominator
      }
    }
    expectClose(
      weight, Tensor(expected.map { Float($0.w) }), absolute: 1e-6, relative: 1e-6)
  }

  @Test(arguments: [DType.bfloat16, .float16])
  func adamWWritesRoundedCopy(dtype: DType) {
    let state = State(count: 1013, seed: 5)
    let copy = Tensor.zeros([1013]).to(dtype)
    state.step(7, copy: copy, gradientScale: 0.3)
    #expect(copy.floats() == state.master.to(dtype).floats())
  }

  @Test func adamWOnPartsEqualsAdamWOnWhole() {
    let whole = State(count: 211, seed: 7)
    let parts = State(count: 211, seed: 7)
    whole.step(2)
    for (start, end) in [(0, 37), (37, 150), (150, 211)] {
      func part(_ tensor: Tensor) -> Tensor { tensor.sliced(dim: 0, from: start, to: end) }
      Tensor.adamW(
        master: part(parts.master), gradient: part(parts.gradient), firstMoment: part(parts.first),
        secondMoment: part(parts.second), learningRate: 3e-3, beta1: 0.9, beta2: 0.95,
        epsilon: 1e-8, weightDecay: 0.1, step: 2)
    }
    #expect(parts.master.floats() == whole.master.floats())
    #expect(parts.second.floats() == whole.second.floats())
  }

  @Test(arguments: [DType.float32, .bfloat16, .float16, .float64], [0, 1, 7, 31, 16_384, 40_009])
  func squaredSumEqualsDoubleSum(dtype: DType, count: Int) {
    let x = randomTensor([count], generator: Generator(seed: 11)).to(dtype)
    let expected = x.to(.float64).elements(as: Double.self).reduce(0) { $0 + $1 * $1 }
    let sum = x.squaredSum()
    #expect(sum.dtype == .float64)
    #expect(sum.shape == [])
    #expect(abs(sum.item() - expected) <= 1e-11 * max(expected, 1))
  }

  @Test func squaredSumOfHugeValuesDoesNotOverflow() {
    #expect(Tensor([3e38, 1e38] as [Float]).squaredSum().item().isFinite)
  }

  @Test(arguments: [DType.float32, .bfloat16, .float16], [1, 16, 37, 101])
  func addRowsEqualsIndexAdd(dtype: DType, width: Int) {
    let generator = Generator(seed: 13)
    let rows = randomTensor([53, width], generator: generator).to(dtype)
    // Few targets: many rows meet in one.
    let indices = Tensor((0..<53).map { Int64(($0 * $0) % 5) })
    let target = randomTensor([7, width], generator: generator)
    var expected = target.floats()
    let values = rows.floats()
    for (row, index) in indices.integers().enumerated() {
      for column in 0..<width {
        expected[Int(index) * width + column] += values[row * width + column]
      }
    }
    target.addRows(rows, at: indices)
    #expect(target.floats() == expected)  // The same order of additions: equal to the last bit.
  }

  @Test func addRowsOfNothingChangesNothing() {
    let target = Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
    target.addRows(Tensor.zeros([0, 3]), at: Tensor([] as [Int64]))
    #expect(target.floats() == [1, 2, 3, 4, 5, 6])
  }

  @Test func addRowsOutsideTargetStopsProcess() async {
    await #expect(processExitsWith: .exitCode(6)) {
      Tensor.zeros([5, 3]).addRows(Tensor.zeros([2, 3]), at: Tensor([1, 5] as [Int64]))
    }
  }

  @Test func adamWOfUnequalCountsStopsProcess() async {
    await #expect(processExitsWith: .exitCode(6)) {
      let (a, b) = (Tensor.zeros([5]), Tensor.zeros([7]))
      Tensor.adamW(
        master: a, gradient: b, firstMoment: a, secondMoment: a, learningRate: 1, beta1: 0.9,
        beta2: 0.9, epsilon: 1e-8, weightDecay: 0, step: 1)
    }
  }
}
