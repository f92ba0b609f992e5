import Foundation
import TestDevice
import Testing
import Torch

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

// Shape legend for this file:
//   T tokens   H query heads   G key-value heads   d head size   D hidden   E experts   K experts a token
//   R rows of all experts (T x K)   I expert width

extension DeviceTests {
  /// Our operators mapped to torch_npu's, which the test device has with their recorded schemas.
  ///
  /// Each is compared with the CPU's kernel, results and gradients, on sizes that fit nothing.
  @Suite(.serialized) final class AscendTests {
    init() throws {
      test_device_define_operators(TestOperatorsRecorded)
      try #require(Ascend.registerOperators() == nil)
    }

    deinit {
      Ascend.unregisterOperators()
      test_device_define_operators(TestOperatorsNone)
    }

    /// float32 differs by the order of sums; bfloat16 by a rounding more or less.
    static func tolerance(_ dtype: DType) -> Double { dtype == .float32 ? 2e-5 : 2e-2 }

    @Test(arguments: [DType.float32, .bfloat16], [1, 7, 0])
    func norms(dtype: DType, rows: Int) {
      let (x, residual) = (numbers([rows, 13], 1, dtype), numbers([rows, 13], 2, dtype))
      let weight = numbers([13], 3, dtype)
      compare([x, weight], dtype) { [$0[0].rmsNorm(weight: $0[1], epsilon: 1e-6)] }
      compare([x, residual, weight], dtype) {
        let (sum, normalized) = $0[0].addingThenRMSNorm($0[1], weight: $0[2], epsilon: 1e-6)
        return [sum, normalized]
      }
    }

    @Test(arguments: [DType.float32, .bfloat16], [false, true])
    func rotations(dtype: DType, isInterleaved: Bool) {
      for tokens in [11, 1, 0] {
        let x = numbers([tokens, 3, 10], 1, dtype)
        let angles = numbers([tokens, 5], 2, .float32)
        let (weight, cosine, sine) = (numbers([10], 3, dtype), angles.cos(), angles.sin())
        compare([x], dtype) { values in
          let (cosine, sine) = (cosine.to(values[0].device), sine.to(values[0].device))
          return [
            values[0].rotated(cosine: cosine, sine: sine, isInterleaved: isInterleaved)
          ]
        }
        compare([x, weight], dtype) { values in
          let (cosine, sine) = (cosine.to(values[0].device), sine.to(values[0].device))
          return [
            values[0].rmsNormThenRotated(
              weight: values[1], epsilon: 1e-6, cosine: cosine, sine: sine,
              isInterleaved: isInterleaved)
          ]
        }
      }
    }

    @Test(arguments: [DType.float32, .bfloat16], [5, 0])
    func swiGLU(dtype: DType, rows: Int) {
      compare([numbers([rows, 2 * 11], 1, dtype)], dtype) { [$0[0].swiGLU()] }
    }

    /// Samples of 1, 13, none and 7 tokens; heads that share keys; another width of values.
    @Test(arguments: [DType.float32, .bfloat16], [nil, 1, 5] as [Int?])
    func attention(dtype: DType, window: Int?) {
      let bounds = Tensor([Int64(0), 1, 14, 14, 21])
      for (valueSize, hasSinks) in [(6, false), (4, true)] {
        let inputs = [
          numbers([21, 6, 6], 1, dtype), numbers([21, 2, 6], 2, dtype),
          numbers([21, 2, valueSize], 3, dtype),
        ]
        let sinks = hasSinks ? [numbers([6], 4, .float32)] : []
        compare(inputs + sinks, dtype) { values in
          [
            Tensor.varlenAttention(
              query: values[0], key: values[1], value: values[2], bounds: bounds, scale: 0.4,
              window: window, sinks: hasSinks ? values[3] : nil)
          ]
        }
      }
    }

    @Test func attentionOfNothing() {
      let bounds = Tensor([Int64(0)])
      compare([numbers([0, 4, 6], 1), numbers([0, 2, 6], 2), numbers([0, 2, 6], 3)], .float32) {
        [
          Tensor.varlenAttention(
            query: $0[0], key: $0[1], value: $0[2], bounds: bounds, scale: 0.4)
        ]
      }
    }

    /// Counts of rows of five experts: uneven with none, all with one, none at all.
    @Test(
      arguments: [DType.float32, .bfloat16],
      [[3, 0, 7, 1, 0], [0, 0, 11, 0, 0], [0, 0, 0, 0, 0]])
    func groupedProducts(dtype: DType, counts: [Int64]) {
      var ends: [Int64] = []
      for count in counts { ends.append((ends.last ?? 0) + count) }
      let inputs = [numbers([Int(ends[4]), 13], 1, dtype), numbers([5, 7, 13], 2, dtype)]
      compare(inputs, dtype) { values in
        [
          values[0].groupedLinear(
            weight: values[1], offsets: Tensor(ends, device: values[0].device))
        ]
      }
    }

    @Test(arguments: [DType.float32, .bfloat16], [[13, 3], [1, 1], [7, 2], [0, 2]])
    func rowsTravel(dtype: DType, sizes: [Int]) {
      let (tokens, slots) = (sizes[0], sizes[1])
      let expertsTK = Tensor.randomIntegers(
        from: 0, to: 5, shape: [tokens, slots], generator: Generator(seed: 5), dtype: .int64)
      compare([numbers([tokens, 11], 1, dtype)], dtype) { values in
        let order = ExpertOrder(expertsTK: expertsTK.to(values[0].device), expertCount: 5)
        return [
          values[0].permutedRows(tokenOfRow: order.tokenOfRow, rowOfSlot: order.rowOfSlotTK)
        ]
      }
      compare(
        [numbers([tokens * slots, 11], 2, dtype), numbers([tokens, slots], 3, .float32)], dtype
      ) { values in
        let order = ExpertOrder(expertsTK: expertsTK.to(values[0].device), expertCount: 5)
        return [values[0].unpermutedRows(weights: values[1], rowOfSlot: order.rowOfSlotTK)]
      }
    }

    @Test func ordersOfRowsAreTheSame() {
      for tokens in [17, 1, 0] {
        let scores = numbers([tokens, 7], 1)
        let chosen = scores.routedTopK(3)
        #expect(scores.to(device).routedTopK(3).integers() == chosen.integers())
        let order = ExpertOrder(expertsTK: chosen, expertCount: 7)
        let other = ExpertOrder(expertsTK: chosen.to(device), expertCount: 7)
        #expect(other.tokenOfRow.integers() == order.tokenOfRow.integers())
        #expect(other.rowOfSlotTK.integers() == order.rowOfSlotTK.integers())
        #expect(other.countsE.integers() == order.countsE.integers())
        #expect(other.offsetsE.integers() == order.offsetsE.integers())
      }
    }

    @Test func routerScores() {
      compare([numbers([11, 7], 1)], .float32) {
        let (scores, sums) = $0[0].routerScores()
        return [scores, sums]
      }
    }

    @Test(arguments: [DType.float32, .bfloat16])
    func products(dtype: DType) {
      let weight = numbers([5, 7], 2, dtype)
      compare([numbers([11, 7], 1, dtype), weight, numbers([5], 3, dtype)], dtype) {
        [Tensor.linear($0[0], weight: $0[1], bias: $0[2])]
      }
      let (a, b) = (numbers([11, 7], 4, dtype), numbers([7, 5], 5, dtype))
      expectClose(a.to(device).product(b.to(device)), a.product(b), dtype)
      let sum = numbers([11, 5], 6)
      let other = sum.to(device)
      sum.addProduct(a, b)
      other.addProduct(a.to(device), b.to(device))
      expectClose(other, sum, dtype)
    }

    @Test func crossEntropyTakesTheLogits() {
      let targets = Tensor([Int64(3), 0, 12, 7, 7])
      for dtype in [DType.float32, .bfloat16] {
        let (logits, weights) = (numbers([5, 13], 1, dtype), numbers([5], 2))
        let other = logits.to(device)
        let plain = logits.crossEntropy(targets: targets)
        expectClose(
          other.crossEntropy(targets: targets.to(device)).lossesC, plain.lossesC, dtype)
        let expected = logits.takeCrossEntropyGradient(
          targets: targets, weights: weights, zLoss: 0.01)
        let actual = other.takeCrossEntropyGradient(
          targets: targets.to(device), weights: weights.to(device), zLoss: 0.01)
        expectClose(actual.lossesC, expected.lossesC, dtype)
        expectClose(actual.logSumExpC, expected.logSumExpC, dtype)
        expectClose(other, logits, dtype)
      }
    }

    /// All but float8, which the configuration refuses on a device.
    @Test func everyOperatorIsMapped() {
      let names = String(cString: test_device_unmapped_operators()).split(separator: " ")
      #expect(names.filter { !$0.hasPrefix("fp8_") } == [])
      #expect(!names.isEmpty, "float8 has no kernels for devices")
    }

    /// Rounded by the same random bits as on the CPU, so equal but for results near a tie.
    @Test(arguments: [DType.float32, .bfloat16])
    func roundedOptimizerStep(gradientType: DType) {
      var indices = SliceIndices(start: (1 << 33) + 5)
      (indices.first, indices.row, indices.gap) = (13, 37, 1 << 31)
      let tensors = (0..<4).map { numbers([1009], UInt64($0), $0 == 1 ? gradientType : .bfloat16) }
      tensors[3].clamp(min: .real(0), max: nil)
      let copies = tensors.map { $0.to(device) }
      for set in [tensors, copies] {
        Tensor.adamWRounded(
          weights: set[0], gradient: set[1], firstMoment: set[2], secondMoment: set[3],
          learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: 3,
          gradientScale: 0.7, seed: 0x9234_5678, indices: indices)
      }
      for (actual, expected) in zip(copies, tensors) {
        let pairs = zip(actual.to(.cpu).floats(), expected.floats())
        let otherCount = pairs.reduce(0) { $0 + ($1.0 == $1.1 ? 0 : 1) }
        #expect(otherCount <= 20)
        expectClose(actual, expected, .bfloat16)
      }
    }

    @Test func optimizerKernels() {
      let tensors = (0..<4).map { numbers([29], UInt64($0)) }
      tensors[3].clamp(min: .real(0), max: nil)
      let copies = tensors.map { $0.to(device) }
      let (copy, otherCopy) = (
        numbers([29], 9, .bfloat16), Tensor.zeros([29], dtype: .bfloat16, device: device)
      )
      for step in 1...3 {
        for (set, target) in [(tensors, copy), (copies, otherCopy)] {
          Tensor.adamW(
            master: set[0], gradient: set[1], firstMoment: set[2], secondMoment: set[3],
            copy: target, learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
            weightDecay: 0.1, step: step, gradientScale: 0.7)
        }
      }
      for (actual, expected) in zip(copies, tensors) { expectClose(actual, expected, .float32) }
      expectClose(otherCopy, copy, .bfloat16)
      let sum = tensors[1].squaredSum().item()
      #expect(abs(copies[1].squaredSum().item() - sum) < 1e-5 * sum)
      let (table, rows) = (Tensor.zeros([5, 29]), numbers([3, 29], 4, .bfloat16))
      let other = table.to(device)
      let indices = Tensor([Int64(4), 1, 4])
      table.addRows(rows, at: indices)
      other.addRows(rows.to(device), at: indices.to(device))
      expectClose(other, table, .float32)
    }

    /// A whole run through the mapping; the losses are the CPU's but for the order of sums.
    @Test(arguments: [
      ["model.dtype=f32", "loss.balance_loss=0.02", "loss.router_z_loss=0.003"],
      ["training.recompute=full", "training.swap_activations=true"],
      ["optimizer.state=bf16", "training.packs_per_step=2"],
    ])
    func aRunThroughTheMappingHasTheLossesOfTheCPU(_ overrides: [String]) throws {
      let tiny = try TinyRun()
      defer { tiny.remove() }
      let expected = try MetricsHistory(
        path: tiny.train(run: "cpu", overrides).layout.metrics)
      let calls = test_device_npu_count()
      let actual = try MetricsHistory(
        path: tiny.train(run: "npu", overrides + ["run.device=npu"]).layout.metrics)
      #expect(actual.training.count == 8)
      // Fewer packs make fewer micro-batches, and so fewer calls.
      let fewest: Int64 = overrides.contains("training.packs_per_step=2") ? 500 : 1_000
      #expect(test_device_npu_count() > calls + fewest, "the run did not use the mapping")
      let limit = overrides[0] == "model.dtype=f32" ? 1e-5 : 5e-3
      for (a, b) in zip(actual.training, expected.training) {
        #expect(abs(a.loss / b.loss - 1) < limit, "step \(a.step): \(a.loss) and \(b.loss)")
      }
    }

    @Test func operatorsThatDifferAreRefusedWithBothSchemas() {
      Ascend.unregisterOperators()
      test_device_define_operators(TestOperatorsOther)
      let message = Ascend.registerOperators() ?? ""
      #expect(message.contains("npu::npu_swiglu is missing, expected npu::npu_swiglu(Tensor input"))
      #expect(message.contains("npu::npu_rms_norm is npu::npu_rms_norm(Tensor input"))
      #expect(message.contains("1.0000000000000001e-05"), "\(message)")
      #expect(message.contains("9.9999999999999995e-07"), "\(message)")
      #expect(!message.contains("npu_rotary_mul"))
    }

    @Test func aLibraryThatCannotBeOpenedIsRefusedWithTheReason() throws {
      let folder = FileManager.default.temporaryDirectory
        .appendingPathComponent("xtuner-ascend-\(UUID().uuidString)").path
      let path = "\(folder)/lib/libtorch_npu.so"
      let missing = Ascend.open(path: path) ?? ""
      #expect(missing.contains("there is no \(path); install torch-npu==2.11.0.post3"))
      try FileManager.default.createDirectory(
        atPath: "\(folder)/lib", withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: folder) }
      func write(_ text: String, _ name: String) throws {
        try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
      }
      try write("not a library", "lib/libtorch_npu.so")
      let unknown = Ascend.open(path: path) ?? ""
      #expect(unknown.contains("version.py does not say which version"), "\(unknown)")
      try write("__version__ = '2.9.0'\n", "version.py")
      let old = Ascend.open(path: path) ?? ""
      #expect(old.contains("is torch_npu 2.9.0, for libtorch 2.9.0, and this is libtorch 2.11.0"))
      try write("__version__ = '2.11.0.post3'\n", "version.py")
      let broken = Ascend.open(path: path) ?? ""
      #expect(broken.contains("the loader refuses \(path)"), "\(broken)")
    }

    // MARK: Comparison

    private let device = DeviceTests.device

    /// The same numbers for a seed and shape.
    private func numbers(_ shape: [Int], _ seed: UInt64, _ dtype: DType = .float32) -> Tensor {
      Tensor.randomNormal(shape, generator: Generator(seed: seed), dtype: .float32).to(dtype)
    }

    private func compare(_ inputs: [Tensor], _ dtype: DType, _ body: ([Tensor]) -> [Tensor]) {
      func results(_ device: Device) -> [Tensor?] {
        let leaves = inputs.map { $0.to(device).leaf() }
        let outputs = withGradientRecording(true) { body(leaves) }
        let weights = outputs.enumerated().map { index, output in
          numbers(output.shape, UInt64(50 + index), output.dtype).to(device)
        }
        return outputs.map { $0.detached() }
          + gradients(of: outputs, withRespectTo: leaves, outputGradients: weights)
      }
      let (actual, expected) = (results(device), results(.cpu))
      #expect(actual.count == expected.count)
      for (a, b) in zip(actual, expected) {
        guard let a, let b else {
          Issue.record("a gradient is missing")
          continue
        }
        #expect(a.dtype == b.dtype)
        expectClose(a, b, dtype)
      }
    }

    private func expectClose(
      _ actual: Tensor, _ expected: Tensor, _ dtype: DType,
      sourceLocation: SourceLocation = #_sourceLocation
    ) {
      #expect(actual.device == device, sourceLocation: sourceLocation)
      #expect(actual.shape == expected.shape, sourceLocation: sourceLocation)
      let (a, b) = (actual.floats(), expected.floats())
      // Where all is zero but for rounding, as with windows of one token, inputs are about 1.
      let scale = max(Double(b.map { abs($0) }.max() ?? 0), 0.1)
      for (index, (x, y)) in zip(a, b).enumerated()
      where !(abs(Double(x) - Double(y)) <= Self.tolerance(dtype) * scale) {
        Issue.record("element \(index): \(x), not \(y)", sourceLocation: sourceLocation)
        return
      }
    }
  }
}
