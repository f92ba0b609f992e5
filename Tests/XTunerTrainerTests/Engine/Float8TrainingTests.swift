import Testing
import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Training with emulated float8 products beside bfloat16: the same weights and batches.
///
/// The limit of 0.5 % is the design's; docs/fp8.md has the measured curves.
@Suite struct Float8TrainingTests {
  /// Models with several tiles in each direction and partial ones: 256 and 96 or 160 of 128.
  struct Model: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var isMixture: Bool

    func configuration() throws -> ModelConfiguration {
      let text = """
        {"model_type": "\(isMixture ? "qwen3_moe" : "qwen3")", "vocab_size": 256,
         "hidden_size": 256, "intermediate_size": 288, "moe_intermediate_size": 96,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 48, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true,
         "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 256,
         "hidden_act": "silu", "tie_word_embeddings": false}
        """
      return try ModelConfiguration(parsing: Array(text.utf8), file: "test")
    }
  }

  static let models = [
    Model(testDescription: "dense", isMixture: false),
    Model(testDescription: "mixture of experts", isMixture: true),
  ]
  static let standard = Set(Float8Module.standard)

  /// Losses and gradient norms of AdamW steps from the same start.
  func train(
    _ model: Model, float8 modules: Set<Float8Module>, steps: Int,
    mesh: ProcessMesh = ProcessMesh(), options: TrainingEngine.Options = .init(),
    gathersFloat8: Bool = true, rate: Double = 1e-3, parts: Int = 2,
    batches: ((_ step: Int) -> [MicroBatch])? = nil
  ) throws -> Curve {
    let prepared = PreparedModel(
      try model.configuration(), computeDType: .bfloat16, isTrained: true, float8: modules,
      gathersFloat8: gathersFloat8, mesh: mesh)
    prepared.initialize(seed: 7)
    let engine = TrainingEngine(
      model: prepared.model, units: prepared.units, options: options)
    let optimizer = AdamW(prepared.units.all, options: AdamW.Options())
    var curve = Curve()
    for step in 0..<steps {
      let all = batches?(step) ?? (0..<parts).map { Self.batch(step: step, part: $0) }
      let own = all.enumerated()
        .filter { $0.offset % mesh.dataRankCount == mesh.dataRank }.map(\.element)
      let measured = try engine.accumulateGradients(own)
      let norm = try GradientNorm(prepared.units)
      #expect(norm.nonFiniteUnit == nil)
      optimizer.step(
        learningRate: rate * min(1, Double(step + 1) / 10),
        gradientScale: min(1, 1 / (norm.value + 1e-6)))
      curve.losses.append(measured.loss)
      curve.norms.append(norm.value)
    }
    return curve
  }

  /// Sequences to be learned: each token follows from the one before it, but for one in eight.
  private static func batch(step: Int, part: Int) -> MicroBatch {
    var batch = MicroBatch()
    add([61, 97, 35], to: &batch, seed: UInt64(1000 + 8 * step + part))
    return batch
  }

  private static func add(_ lengths: [Int], to batch: inout MicroBatch, seed: UInt64) {
    let generator = Generator(seed: seed)
    for length in lengths {
      let noise = Tensor.randomIntegers(
        from: 0, to: 2048, shape: [length], generator: generator, dtype: .int64
      ).integers()
      var token = Int32(noise[0] % 256)
      let tokens = noise.map { number -> Int32 in
        token = number < 256 ? Int32(number) : (token * 5 + 17) % 256
        return token
      }
      batch.append(tokens: tokens[...], labels: tokens[...], reduction: .token)
    }
  }

  /// Measured at 1e-3: dense -0.01 %, mixture +0.02 %.
  ///
  /// At 5e-4, where the curves are still steep after fifty steps, +0.21 % and +0.08 %. Float32 beside bfloat16 differs by up to 0.13 %.
  @Test(arguments: models, [1e-3, 5e-4])
  func fiftyStepsStayWithinHalfAPercentOfBfloat16(model: Model, rate: Double) throws {
    let reference = try train(model, float8: [], steps: 50, rate: rate, parts: 8)
    let quantized = try train(model, float8: Self.standard, steps: 50, rate: rate, parts: 8)
    // It is in effect: every loss differs.
    for (a, b) in zip(reference.losses, quantized.losses) { #expect(a != b) }
    let last = { (curve: Curve) in curve.losses.suffix(5).reduce(0, +) / 5 }
    let difference = (last(quantized) - last(reference)) / last(reference)
    #expect(abs(difference) < 0.005, "\(last(reference)) and \(last(quantized))")
    #expect(last(reference) < 0.3 * reference.losses[0], "the model learns")
  }

  @Test func theHeadCanBeFloat8Too() throws {
    let model = Self.models[0]
    let without = try train(model, float8: Self.standard, steps: 3)
    let with = try train(model, float8: Self.standard.union([.head]), steps: 3)
    for (a, b) in zip(without.losses, with.losses) { #expect(a != b && abs(a - b) < 0.01 * a) }
    for (a, b) in zip(without.norms, with.norms) { #expect(a != b && abs(a - b) < 0.1 * a) }
  }

  /// Packs of 256 tokens for two ranks, or both in one micro-batch.
  ///
  /// A weight's gradient is multiplied in tiles along the tokens of a micro-batch: here they are the same
  /// tiles of 128, also where two ranks share a pack.
  private static func wholeTiles(step: Int, isOne: Bool) -> [MicroBatch] {
    var batches = [MicroBatch()]
    for part in 0..<2 {
      if part == 1 && !isOne { batches.append(MicroBatch()) }
      add([61, 97, 98], to: &batches[batches.count - 1], seed: UInt64(5000 + 8 * step + part))
    }
    return batches
  }

  /// Ranks quantise what one rank would.
  ///
  /// What differs is that gradients are rounded to bfloat16 before ranks add them, by up to 2^-9 of an
  /// element, and the order of sums; after updates by them, also tiles that are rounded the other way.
  /// Seen: 1.3e-4 in a loss, 2.2e-3 in a norm.
  @Test(arguments: [
    ParallelLayout(worldSize: 2), ParallelLayout(worldSize: 2, expert: 2),
    ParallelLayout(worldSize: 4, expert: 2, sequence: 2),
  ])
  func ranksTogetherComputeTheSame(layout: ParallelLayout) throws {
    let model = Self.models[1]
    let alone = try train(model, float8: Self.standard, steps: 3) {
      Self.wholeTiles(step: $0, isOne: true)
    }
    let together = try runMesh(layout) { mesh in
      try Float8TrainingTests().train(model, float8: Self.standard, steps: 3, mesh: mesh) {
        Self.wholeTiles(step: $0, isOne: false)
      }
    }
    for curve in together {
      for (step, (a, b)) in zip(curve.losses, alone.losses).enumerated() {
        #expect(abs(a / b - 1) < 5e-4, "step \(step): loss \(a), not \(b)")
      }
      for (step, (a, b)) in zip(curve.norms, alone.norms).enumerated() {
        #expect(abs(a / b - 1) < 5e-3, "step \(step): norm \(a), not \(b)")
      }
    }
  }
}
