import Testing
import Torch

/// Operators that quantise what they make: the same bits as the two operators that they stand for, and
/// near the reference.
@Suite struct Float8FusedTests {
  static let shapes = [
    [0, 5], [5, 0], [1, 1], [3, 127], [17, 128], [33, 129], [131, 257], [19, 512],
  ]

  private func random(_ shape: [Int], _ seed: UInt64, _ dtype: DType = .bfloat16) -> Tensor {
    randomTensor(shape, dtype: dtype, generator: Generator(seed: seed))
  }

  private func expectSame(
    _ mine: Float8Tensor, _ theirs: Float8Tensor, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(mine.tiling == theirs.tiling && mine.values.dtype == .float8e4m3)
    for (a, b) in [(mine.values, theirs.values), (mine.scales, theirs.scales)] {
      #expect(
        a.shape == b.shape && a.dtype == b.dtype && bytes(a) == bytes(b),
        sourceLocation: sourceLocation)
    }
    #expect(
      mine.scales.strides == theirs.scales.strides || mine.scales.elementCount < 2,
      sourceLocation: sourceLocation)
  }

  /// Kernels and references round the operands of the quantisation in other places: at most one step of
  /// three bits.
  private func expectNear(
    _ mine: Float8Tensor, _ reference: Float8Tensor,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    expectClose(
      mine.dequantized(), reference.dequantized(implementation: .reference), absolute: 1e-2,
      relative: 0.13, sourceLocation: sourceLocation)
  }

  @Test(arguments: [DType.bfloat16, .float32], shapes)
  func swiGLUIsQuantizedAsItIsMade(dtype: DType, shape: [Int]) {
    let gateUp = random([shape[0], 2 * shape[1]], 3, dtype)
    let rows = gateUp.swiGLUQuantizedInRows()
    expectSame(rows, gateUp.swiGLU().quantizedInRows())
    expectNear(rows, gateUp.swiGLUQuantizedInRows(implementation: .reference))
    let columns = gateUp.swiGLUQuantizedInColumns()
    expectSame(columns, gateUp.swiGLU().quantizedInColumns())
    expectNear(columns, gateUp.swiGLUQuantizedInColumns(implementation: .reference))
  }

  @Test(arguments: GroupedLinearTests.cases)
  func swiGLUColumnsDoNotMixExperts(rows: GroupedLinearTests.Case) {
    let gateUp = random([rows.rows.reduce(0, +), 2 * 71], 5)
    let offsets = GroupedLinearTests.offsets(rows.rows)
    let columns = gateUp.swiGLUQuantizedInColumns(offsets: offsets)
    expectSame(columns, gateUp.swiGLU().quantizedInColumns(offsets: offsets))
    expectNear(
      columns, gateUp.swiGLUQuantizedInColumns(offsets: offsets, implementation: .reference))
  }

  @Test(arguments: [DType.bfloat16, .float32], shapes)
  func normIsQuantizedAsItIsMade(dtype: DType, shape: [Int]) {
    let (x, residual) = (random(shape, 7, dtype), random(shape, 8, dtype))
    let weight = random([shape[1]], 9, dtype)
    let alone = x.quantizedRMSNorm(weight: weight, epsilon: 1e-6)
    #expect(bytes(alone.sum) == bytes(x))
    #expect(bytes(alone.normalized) == bytes(x.rmsNorm(weight: weight, epsilon: 1e-6)))
    expectSame(alone.quantized, alone.normalized.quantizedInRows())
    let added = x.quantizedRMSNorm(adding: residual, weight: weight, epsilon: 1e-6)
    let plain = x.addingThenRMSNorm(residual, weight: weight, epsilon: 1e-6)
    #expect(bytes(added.sum) == bytes(plain.sum))
    #expect(bytes(added.normalized) == bytes(plain.normalized))
    expectSame(added.quantized, added.normalized.quantizedInRows())
    for (mine, residual) in [(alone, nil), (added, residual)] {
      let reference = x.quantizedRMSNorm(
        adding: residual, weight: weight, epsilon: 1e-6, implementation: .reference)
      expectClose(mine.sum, reference.sum, absolute: 1e-2, relative: 1e-2)
      expectClose(mine.normalized, reference.normalized, absolute: 1e-2, relative: 1e-2)
      expectNear(mine.quantized, reference.quantized)
    }
  }

  /// Value and all gradients, with the weight as it is and in blocks.
  @Test(arguments: [(1, 16, 1), (67, 48, 131), (130, 33, 256)])
  func layerOfSwiGLUEqualsTheTwo(size: (rows: Int, outputs: Int, inputs: Int)) {
    let gateUp = random([size.rows, 2 * size.inputs], 1)
    let weight = random([size.outputs, size.inputs], 2)
    let bias = random([size.outputs], 3)
    let two = Outcome([gateUp, weight, bias]) {
      Tensor.float8Linear($0[0].swiGLU(), weight: $0[1], bias: $0[2])
    }
    for quantized in [nil, weight.quantizedInBlocks()] {
      let one = Outcome([gateUp, weight, bias]) {
        $0[0].float8SwiGLULinear(weight: $0[1], quantized: quantized, bias: $0[2])
      }
      expectSameBits(one, two)
    }
  }

  @Test(arguments: GroupedLinearTests.cases)
  func groupsOfSwiGLUEqualTheTwo(rows: GroupedLinearTests.Case) {
    let gateUp = random([rows.rows.reduce(0, +), 2 * 131], 1)
    let weight = random([rows.rows.count, 19, 131], 2)
    let offsets = GroupedLinearTests.offsets(rows.rows)
    expectSameBits(
      Outcome([gateUp, weight]) { $0[0].float8SwiGLULinear(weight: $0[1], offsets: offsets) },
      Outcome([gateUp, weight]) {
        $0[0].swiGLU().float8GroupedLinear(weight: $0[1], offsets: offsets)
      })
  }

  /// Two layers that share what the norm has quantised, and one that reads the sum.
  @Test(arguments: [(1, 1), (67, 131), (130, 256)])
  func layersAfterANormEqualThoseThatQuantizeThemselves(size: (rows: Int, width: Int)) {
    let inputs = [
      random([size.rows, size.width], 1), random([size.rows, size.width], 2),
      random([size.width], 3), random([33, size.width], 4), random([33, size.width], 5),
      random([33, size.width], 6),
    ]
    func output(
      _ sum: Tensor, _ normalized: Tensor, _ rows: Float8Tensor?, _ weights: ArraySlice<Tensor>
    ) -> Tensor {
      let layers = weights.dropLast().map {
        Tensor.float8Linear(normalized, weight: $0, rows: rows)
      }
      return layers[0] * layers[1] + Tensor.linear(sum, weight: weights.last!)
    }
    expectSameBits(
      Outcome(inputs) {
        let made = $0[0].quantizedRMSNorm(adding: $0[1], weight: $0[2], epsilon: 1e-6)
        return output(made.sum, made.normalized, made.quantized, $0[3...])
      },
      Outcome(inputs) {
        let made = $0[0].addingThenRMSNorm($0[1], weight: $0[2], epsilon: 1e-6)
        return output(made.sum, made.normalized, nil, $0[3...])
      })
    let alone = [inputs[0], inputs[2], inputs[3], inputs[4]]
    expectSameBits(
      Outcome(alone) {
        let made = $0[0].quantizedRMSNorm(weight: $0[1], epsilon: 1e-6)
        return output(made.normalized, made.normalized, made.quantized, $0[2...] + [$0[2]])
      },
      Outcome(alone) {
        let normalized = $0[0].rmsNorm(weight: $0[1], epsilon: 1e-6)
        return output(normalized, normalized, nil, $0[2...] + [$0[2]])
      })
  }

  /// A sum whose norm nobody reads passes its gradient on.
  @Test func sumAloneHasAGradient() {
    let leaves = [random([5, 7], 1).leaf(), random([5, 7], 2).leaf(), random([7], 3).leaf()]
    let seed = random([5, 7], 4)
    let made = leaves[0].quantizedRMSNorm(adding: leaves[1], weight: leaves[2], epsilon: 1e-6)
    let found = gradients(of: [made.sum], withRespectTo: leaves, outputGradients: [seed])
    #expect(found[0].map(bytes) == bytes(seed) && found[1].map(bytes) == bytes(seed))
    #expect(found[2] == nil)
    #expect(!made.quantized.values.requiresGradient && !made.quantized.scales.requiresGradient)
  }
}
