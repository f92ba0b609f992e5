import Testing
import Torch

/// AdamW on bfloat16 weights and moments, and on bfloat16 gradients.
@Suite struct RoundedAdamWTests {
  private struct State {
    let weights, gradient, first, second: Tensor

    init(weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor) {
      (self.weights, self.gradient, self.first, self.second) = (weights, gradient, first, second)
    }

    init(count: Int, dtype: DType, seed: UInt64 = 3) {
      let generator = Generator(seed: seed)
      // Numbers that bfloat16 has, whatever the dtype.
      func draw(_ deviation: Double) -> Tensor {
        randomTensor([count], deviation: deviation, generator: generator).to(.bfloat16)
      }
      weights = draw(0.5).to(dtype)
      gradient = draw(1)
      first = draw(0.1).to(dtype)
      second = draw(0.01).absolute().to(dtype)
    }

    func step(seed: UInt32, range: Range<Int>? = nil) {
      func part(_ tensor: Tensor) -> Tensor {
        guard let range else { return tensor }
        return tensor.narrowed(dim: 0, start: range.lowerBound, length: range.count)
      }
      Tensor.adamWRounded(
        weights: part(weights), gradient: part(gradient), firstMoment: part(first),
        secondMoment: part(second), learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
        weightDecay: 0.1, step: 4, gradientScale: 0.5, seed: seed,
        indices: SliceIndices(start: range?.lowerBound ?? 0))
    }

    /// The columns of these numbers as a matrix, with an update of their own, in two parts.
    func stepColumns(_ columns: Range<Int>, of width: Int, seed: UInt32) -> State {
      func part(_ tensor: Tensor) -> Tensor {
        tensor.view([-1, width]).narrowed(dim: 1, start: columns.lowerBound, length: columns.count)
          .contiguous().view([-1])
      }
      let own = State(
        weights: part(weights), gradient: part(gradient), first: part(first), second: part(second))
      let count = own.weights.elementCount
      for range in [0..<count / 3, count / 3..<count] {
        func piece(_ tensor: Tensor) -> Tensor {
          tensor.narrowed(dim: 0, start: range.lowerBound, length: range.count)
        }
        var indices = SliceIndices(start: columns.lowerBound)
        indices.first = range.lowerBound
        (indices.row, indices.gap) = (columns.count, width - columns.count)
        Tensor.adamWRounded(
          weights: piece(own.weights), gradient: piece(own.gradient),
          firstMoment: piece(own.first), secondMoment: piece(own.second), learningRate: 3e-3,
          beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: 4, gradientScale: 0.5,
          seed: seed, indices: indices)
      }
      return own
    }

    /// The same step in float32.
    func exactStep() {
      Tensor.adamW(
        master: weights, gradient: gradient, firstMoment: first, secondMoment: second,
        learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: 4,
        gradientScale: 0.5)
    }
  }

  @Test(arguments: [0, 1, 15, 17, 1009, 50_021])
  func bfloat16GradientsAreWidenedExactly(count: Int) {
    let narrow = State(count: count, dtype: .float32)
    let wide = State(count: count, dtype: .float32)
    narrow.exactStep()
    Tensor.adamW(
      master: wide.weights, gradient: wide.gradient.to(.float32), firstMoment: wide.first,
      secondMoment: wide.second, learningRate: 3e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
      weightDecay: 0.1, step: 4, gradientScale: 0.5)
    #expect(narrow.weights.floats() == wide.weights.floats())
    #expect(narrow.second.floats() == wide.second.floats())
  }

  /// Every number is one of the two neighbours of the float32 result, first moments the nearer one.
  @Test(arguments: [0, 1, 15, 17, 1009, 50_021])
  func resultsAreNeighboursOfTheExactOnes(count: Int) {
    let rounded = State(count: count, dtype: .bfloat16)
    let exact = State(count: count, dtype: .float32)
    rounded.step(seed: 9)
    exact.exactStep()
    #expect(rounded.first.floats() == exact.first.to(.bfloat16).floats())
    for (own, expected) in [(rounded.weights, exact.weights), (rounded.second, exact.second)] {
      let isNeighbour = zip(own.floats(), expected.floats()).allSatisfy { own, exact in
        let below = Float(bitPattern: exact.bitPattern & 0xFFFF_0000)
        let above = Float(bitPattern: (exact.bitPattern & 0xFFFF_0000) &+ 0x1_0000)
        return own == below || (own == above && exact != below)
      }
      #expect(isNeighbour)
    }
  }

  /// The mean over seeds comes to the float32 result, which rounding to nearest would miss.
  @Test func roundingIsUnbiased() {
    let count = 64
    let exact = State(count: count, dtype: .float32)
    exact.exactStep()
    var sums = [Double](repeating: 0, count: count)
    let trials = 4000
    for seed in 0..<trials {
      let state = State(count: count, dtype: .bfloat16)
      state.step(seed: UInt32(seed) &* 0x9E37_79B1)
      for (index, value) in state.weights.floats().enumerated() { sums[index] += Double(value) }
    }
    for (index, value) in exact.weights.floats().enumerated() {
      let digit = Double(Float(bitPattern: value.bitPattern & 0xFF80_0000).magnitude) / 128
      // Five standard deviations of a mean of 0 and 1 with equal chance.
      #expect(abs(sums[index] / Double(trials) - Double(value)) < digit * 2.5 / 4000.0.squareRoot())
    }
  }

  @Test func partsGiveTheWholeAndSeedsDiffer() {
    let whole = State(count: 211, dtype: .bfloat16)
    let parts = State(count: 211, dtype: .bfloat16)
    let other = State(count: 211, dtype: .bfloat16)
    whole.step(seed: 7)
    for range in [0..<37, 37..<150, 150..<211] { parts.step(seed: 7, range: range) }
    other.step(seed: 8)
    #expect(parts.weights.floats() == whole.weights.floats())
    #expect(parts.second.floats() == whole.second.floats())
    #expect(other.weights.floats() != whole.weights.floats())
  }

  /// A rank that has some columns of a matrix rounds them as the rank that has all of it; also where a row
  /// is shorter than a vector of the kernel.
  @Test(arguments: [0..<3, 3..<67, 67..<101])
  func columnsOfAMatrixAreRoundedAsInTheWhole(columns: Range<Int>) {
    let (rows, width) = (409, 101)
    let whole = State(count: rows * width, dtype: .bfloat16)
    let own = State(count: rows * width, dtype: .bfloat16)
      .stepColumns(columns, of: width, seed: 7)
    whole.step(seed: 7)
    for (found, all) in [(own.weights, whole.weights), (own.second, whole.second)] {
      let expected = all.view([rows, width])
        .narrowed(dim: 1, start: columns.lowerBound, length: columns.count)
      #expect(found.floats() == expected.floats())
    }
  }

  /// Updates of a hundredth of the last digit add up; rounded to nearest, nothing would ever happen.
  @Test func smallUpdatesAreNotLost() {
    let count = 4096
    let weights = Tensor.ones([count], dtype: .bfloat16)
    let gradient = Tensor.ones([count], dtype: .bfloat16)
    let first = Tensor.zeros([count], dtype: .bfloat16)
    let second = Tensor.zeros([count], dtype: .bfloat16)
    for step in 1...50 {
      Tensor.adamWRounded(
        weights: weights, gradient: gradient, firstMoment: first, secondMoment: second,
        learningRate: 4e-5, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, step: step,
        seed: UInt32(step))
    }
    let mean = weights.to(.float64).sum().item() / Double(count)
    #expect(abs(mean - (1 - 50 * 4e-5)) < 2e-4)
  }

  @Test func notFiniteNumbersStay() {
    let weights = Tensor([1, .infinity, 1] as [Float]).to(.bfloat16)
    let gradient = Tensor([.nan, 1, .infinity] as [Float]).to(.bfloat16)
    let first = Tensor.zeros([3], dtype: .bfloat16)
    let second = Tensor.zeros([3], dtype: .bfloat16)
    Tensor.adamWRounded(
      weights: weights, gradient: gradient, firstMoment: first, secondMoment: second,
      learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, step: 1, seed: 1)
    let values = weights.floats()
    #expect(values[0].isNaN)
    #expect(values[1] == .infinity)
    #expect(values[2].isNaN)
    #expect(second.floats()[2] == .infinity)
  }
}
