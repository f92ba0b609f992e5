import Testing
import Torch

/// How close a kernel must be to its reference.
struct Tolerance {
  var absolute: Double
  var relative: Double

  /// The tolerance of a comparison in `dtype`.
  ///
  /// bf16 has 8 significant bits: two roundings differ by at most 2^-7; f16 has 11. The kernels sum
  /// in float32 (float64 for f64) in another order than ATen. References work in float32, except
  /// matrix products.
  static func of(_ dtype: DType) -> Tolerance {
    switch dtype {
    case .float64: Tolerance(absolute: 1e-5, relative: 1e-5)
    case .float32: Tolerance(absolute: 2e-5, relative: 2e-5)
    case .float16: Tolerance(absolute: 4e-3, relative: 2e-3)
    default: Tolerance(absolute: 3e-2, relative: 1.6e-2)
    }
  }

  func scaled(by factor: Double) -> Tolerance {
    Tolerance(absolute: absolute * factor, relative: relative * factor)
  }
}

/// A function's value and its gradients for one random seed gradient.
struct Outcome {
  var value: Tensor
  var inputGradients: [Tensor]

  /// Runs `body` on leaves over `inputs` and differentiates it.
  init(
    _ inputs: [Tensor], seed: UInt64 = 97, layout: (Tensor) -> Tensor = { $0 },
    _ body: ([Tensor]) -> Tensor
  ) {
    let leaves = inputs.map { $0.leaf() }
    let output = body(leaves)
    value = output.detached()
    let weights = randomTensor(
      output.shape, dtype: output.dtype, generator: Generator(seed: seed))
    inputGradients = gradients(
      of: [output], withRespectTo: leaves, outputGradients: [layout(weights)]
    ).enumerated().map { index, gradient in
      guard let gradient else {
        Issue.record("input \(index) has no gradient")
        return inputs[index].zerosLike()
      }
      return gradient
    }
  }
}

/// Expects the kernel's value and gradients to be those of the reference, in dtype and shape too.
func expectKernelEqualsReference(
  _ inputs: [Tensor], tolerance: Tolerance, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: ([Tensor], Implementation) -> Tensor
) {
  let kernel = Outcome(inputs) { body($0, .kernel) }
  let reference = Outcome(inputs) { body($0, .reference) }
  #expect(kernel.value.dtype == reference.value.dtype, sourceLocation: sourceLocation)
  expectClose(
    kernel.value, reference.value, absolute: tolerance.absolute, relative: tolerance.relative,
    "value", sourceLocation: sourceLocation)
  for (index, (mine, theirs)) in zip(kernel.inputGradients, reference.inputGradients).enumerated() {
    #expect(mine.dtype == inputs[index].dtype, sourceLocation: sourceLocation)
    // Gradients of weights sum over rows: their size sets the scale of the error.
    let largest =
      theirs.elementCount == 0 ? 0 : theirs.absolute().maximumValue().to(.float64).item()
    expectClose(
      mine, theirs, absolute: tolerance.absolute * max(1, largest / 4),
      relative: tolerance.relative, "gradient of input \(index)", sourceLocation: sourceLocation)
  }
}

/// Expects two runs to be equal to the last bit.
func expectSameBits(
  _ a: Outcome, _ b: Outcome, sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(bytes(a.value) == bytes(b.value), sourceLocation: sourceLocation)
  for (x, y) in zip(a.inputGradients, b.inputGradients) {
    #expect(bytes(x) == bytes(y), sourceLocation: sourceLocation)
  }
}

let floatingTypes: [DType] = [.float64, .float32, .float16, .bfloat16]
