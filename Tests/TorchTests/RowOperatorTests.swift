import Testing
import Torch

/// `rmsNorm`, `rotated` and `swiGLU` against their references.
@Suite struct RowOperatorTests {
  // Sizes: nothing, one, around the vector width of 16, primes, more than one block of 64 rows.
  static let rowCounts = [0, 1, 67]
  static let widths = [1, 15, 16, 17, 31, 64, 131]

  @Test(arguments: floatingTypes, widths)
  func rmsNormEqualsReference(dtype: DType, width: Int) {
    for rows in Self.rowCounts {
      let generator = Generator(seed: UInt64(width * 100 + rows))
      let x = randomTensor([rows, width], dtype: dtype, generator: generator)
      let weight = randomTensor([width], dtype: dtype, generator: generator)
      expectKernelEqualsReference([x, weight], tolerance: .of(dtype)) {
        $0[0].rmsNorm(weight: $0[1], epsilon: 1e-6, implementation: $1)
      }
    }
  }

  @Test func rmsNormNormalisesLastDimOfAnyRank() {
    let generator = Generator(seed: 2)
    let x = randomTensor([3, 5, 2, 7], generator: generator)
    let weight = randomTensor([7], generator: generator)
    expectKernelEqualsReference([x, weight], tolerance: .of(.float32)) {
      $0[0].rmsNorm(weight: $0[1], epsilon: 1e-5, implementation: $1)
    }
  }

  @Test func rmsNormTakesTransposedInputAndGradient() {
    let generator = Generator(seed: 3)
    let x = randomTensor([5, 11], generator: generator)
    let weight = randomTensor([5], generator: generator)
    let gradient = randomTensor([5, 11], generator: generator)
    func run(_ implementation: Implementation) -> [Tensor] {
      let leaves = [x.leaf(), weight.leaf()]
      let y = leaves[0].transposed(0, 1).rmsNorm(
        weight: leaves[1], epsilon: 1e-6, implementation: implementation)
      return gradients(
        of: [y], withRespectTo: leaves, outputGradients: [gradient.transposed(0, 1)]
      ).compactMap { $0 }
    }
    for (kernel, reference) in zip(run(.kernel), run(.reference)) {
      expectClose(kernel, reference, absolute: 2e-5, relative: 2e-5)
    }
  }

  @Test func rmsNormOfZerosIsZero() {
    let x = Tensor.zeros([3, 19])
    let weight = Tensor.ones([19])
    #expect(x.rmsNorm(weight: weight, epsilon: 1e-6).floats().allSatisfy { $0 == 0 })
  }

  @Test func rmsNormKeepsNaNInItsRow() {
    var values = [Float](repeating: 1, count: 3 * 17)
    values[17 + 5] = .nan
    for dtype in floatingTypes {
      let x = Tensor(values, shape: [3, 17]).to(dtype)
      let y = x.rmsNorm(weight: Tensor.ones([17], dtype: dtype), epsilon: 0).floats()
      #expect(y[0..<17].allSatisfy { $0 == 1 })
      #expect(y[17..<34].allSatisfy { $0.isNaN })
      #expect(y[34..<51].allSatisfy { $0 == 1 })
    }
  }

  @Test(arguments: floatingTypes, [2, 10, 30, 32, 34, 64, 128])
  func rotaryEqualsReference(dtype: DType, headSize: Int) {
    for (tokens, heads) in [(0, 3), (1, 1), (7, 5)] {
      let generator = Generator(seed: UInt64(headSize + tokens))
      let x = randomTensor([tokens, heads, headSize], dtype: dtype, generator: generator)
      let angles = randomTensor([tokens, headSize / 2], generator: generator)
      for isInterleaved in [false, true] {
        expectKernelEqualsReference([x], tolerance: .of(dtype)) {
          $0[0].rotated(
            cosine: angles.cos(), sine: angles.sin(), isInterleaved: isInterleaved,
            implementation: $1)
        }
      }
    }
  }

  @Test(arguments: floatingTypes, [2, 10, 32, 34, 64, 128])
  func normThenRotationEqualsTheTwoToTheLastBit(dtype: DType, headSize: Int) {
    for (tokens, heads) in [(0, 3), (1, 1), (7, 5), (131, 2)] {
      let generator = Generator(seed: UInt64(headSize + tokens))
      // Heads that are part of wider rows, as those of one projection for query, key and value.
      let rows = randomTensor([tokens, (heads + 2) * headSize], dtype: dtype, generator: generator)
      let weight = randomTensor([headSize], dtype: dtype, generator: generator)
      let angles = randomTensor([tokens, headSize / 2], generator: generator)
      let (cosine, sine) = (angles.cos(), angles.sin())
      func part(_ rows: Tensor) -> Tensor {
        rows.narrowed(dim: 1, start: headSize, length: heads * headSize)
          .view([tokens, heads, headSize])
      }
      for isInterleaved in [false, true] {
        let fused = Outcome([rows, weight]) {
          part($0[0]).rmsNormThenRotated(
            weight: $0[1], epsilon: 1e-6, cosine: cosine, sine: sine, isInterleaved: isInterleaved)
        }
        let apart = Outcome([rows, weight]) {
          part($0[0]).rmsNorm(weight: $0[1], epsilon: 1e-6)
            .rotated(cosine: cosine, sine: sine, isInterleaved: isInterleaved)
        }
        #expect(bytes(fused.value) == bytes(apart.value))
        #expect(bytes(fused.inputGradients[0]) == bytes(apart.inputGradients[0]))
        expectKernelEqualsReference([rows, weight], tolerance: .of(dtype).scaled(by: 2)) {
          part($0[0]).rmsNormThenRotated(
            weight: $0[1], epsilon: 1e-6, cosine: cosine, sine: sine, isInterleaved: isInterleaved,
            implementation: $1)
        }
      }
    }
  }

  @Test(arguments: floatingTypes, widths)
  func additionThenNormEqualsReference(dtype: DType, width: Int) {
    for rows in Self.rowCounts {
      let generator = Generator(seed: UInt64(width * 10 + rows))
      let x = randomTensor([rows, width], dtype: dtype, generator: generator)
      let residual = randomTensor([rows, width], dtype: dtype, generator: generator)
      let weight = randomTensor([width], dtype: dtype, generator: generator)
      // Gradients of the norm alone, of both, and of the sum alone.
      for sumFactor in [0.0, 1] {
        expectKernelEqualsReference([x, residual, weight], tolerance: .of(dtype).scaled(by: 2)) {
          let (sum, normalized) = $0[0].addingThenRMSNorm(
            $0[1], weight: $0[2], epsilon: 1e-6, implementation: $1)
          return sumFactor == 0 ? normalized : normalized + sum
        }
      }
      expectKernelEqualsReference([x, residual], tolerance: .of(dtype)) {
        $0[0].addingThenRMSNorm($0[1], weight: weight, epsilon: 1e-6, implementation: $1).sum
      }
      let (sum, normalized) = x.addingThenRMSNorm(residual, weight: weight, epsilon: 1e-6)
      #expect(bytes(sum) == bytes(x + residual))
      #expect(bytes(normalized) == bytes((x + residual).rmsNorm(weight: weight, epsilon: 1e-6)))
    }
  }

  @Test(arguments: [false, true])
  func rotationKeepsLengthOfEveryHead(isInterleaved: Bool) {
    let generator = Generator(seed: 5)
    let x = randomTensor([11, 3, 34], generator: generator)
    let angles = randomTensor([11, 17], generator: generator)
    let y = x.rotated(cosine: angles.cos(), sine: angles.sin(), isInterleaved: isInterleaved)
    expectClose(
      y.multiplied(by: y).sum(dims: [2]), x.multiplied(by: x).sum(dims: [2]), absolute: 1e-5,
      relative: 1e-5)
  }

  @Test(arguments: floatingTypes, widths)
  func swiGLUEqualsReference(dtype: DType, width: Int) {
    for rows in Self.rowCounts {
      let generator = Generator(seed: UInt64(width * 100 + rows))
      let x = randomTensor([rows, 2 * width], dtype: dtype, deviation: 3, generator: generator)
      expectKernelEqualsReference([x], tolerance: .of(dtype)) { $0[0].swiGLU(implementation: $1) }
    }
  }

  @Test func swiGLUOfExtremeGatesIsExact() {
    // Beyond the range of the exponential: silu is 0 or the gate itself.
    let gates: [Float] = [-1e30, -500, -104, -89, -88, -87, 87, 88, 89, 104, 500, 1e30]
    let ups = [Float](repeating: 1, count: gates.count)
    let x = Tensor(gates + ups, shape: [1, 24])
    let outcome = Outcome([x]) { $0[0].swiGLU() }
    let y = outcome.value.floats()
    for (index, gate) in gates.enumerated() {
      if gate > 0 { #expect(y[index] == gate) } else { #expect(abs(y[index]) < 1e-30) }
    }
    #expect(outcome.inputGradients[0].floats().allSatisfy { $0.isFinite })
  }

  @Test func swiGLUEqualsDoublePrecisionToAFewUnits() {
    let count = 4001
    let gates = (0..<count).map { Float($0) * 0.04 - 80 }
    let x = Tensor(gates + [Float](repeating: 1, count: count), shape: [1, 2 * count])
    let y = x.swiGLU().floats()
    let exact = x.to(.float64).swiGLU().elements(as: Double.self)
    for index in 0..<count {
      let error = abs(Double(y[index]) - exact[index])
      #expect(error <= 5e-7 * abs(exact[index]), "at \(gates[index])")
    }
  }

  @Test func float64GradientsEqualFiniteDifferences() {
    let generator = Generator(seed: 8)
    let x = randomTensor([3, 10], dtype: .float64, generator: generator)
    let weight = randomTensor([5], dtype: .float64, generator: generator)
    let probe = randomTensor([3, 5], dtype: .float64, generator: generator)
    func loss(_ x: Tensor) -> Tensor {
      (x.swiGLU().rmsNorm(weight: weight, epsilon: 1e-3) * probe).sum()
    }
    let leaf = x.leaf()
    let gradient = gradients(of: [loss(leaf)], withRespectTo: [leaf], outputGradients: [nil])[0]!
    let step = 1e-5
    for index in 0..<30 {
      let delta = Tensor((0..<30).map { $0 == index ? step : 0 }, shape: [3, 10])
      let slope = (loss(x + delta).item() - loss(x - delta).item()) / (2 * step)
      let exact = gradient.elements(as: Double.self)[index]
      #expect(abs(slope - exact) < 1e-6, "\(index): \(exact) against \(slope)")
    }
  }

  @Test func twoRunsAreEqualToTheLastBit() {
    let generator = Generator(seed: 9)
    let x = randomTensor([301, 262], dtype: .bfloat16, generator: generator)
    let weight = randomTensor([262], dtype: .bfloat16, generator: generator)
    let run = {
      Outcome([x, weight]) { $0[0].rmsNorm(weight: $0[1], epsilon: 1e-6).swiGLU() }
    }
    expectSameBits(run(), run())
  }
}
