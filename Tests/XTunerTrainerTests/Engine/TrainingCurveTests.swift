import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Thirty AdamW steps with warm-up, cosine, clipping and two micro-batches a step, recorded from a
/// transformers loop on the same tokens and weights.
@Suite struct TrainingCurveTests {
  @Test(arguments: ReferenceModel.withCurve)
  func lossAndGradientNormEqualTransformersLoop(_ reference: ReferenceModel) throws {
    try check(reference, mesh: ProcessMesh())
  }

  /// The same global batches over ranks give the same curve.
  @Test(
    arguments: ReferenceModel.withCurve,
    [
      ParallelLayout(worldSize: 2), ParallelLayout(worldSize: 4, replicate: 2, sequence: 2),
    ])
  func ranksTogetherEqualTransformersLoop(
    _ reference: ReferenceModel, layout: ParallelLayout
  ) throws {
    _ = try runMesh(layout) { try check(reference, mesh: $0) }
  }

  @Test func expertRanksEqualTransformersLoop() throws {
    _ = try runMesh(ParallelLayout(worldSize: 4, expert: 2, expertTensor: 2)) { mesh in
      try check(ReferenceModel(name: "qwen3_moe"), mesh: mesh)
    }
  }

  private func check(_ reference: ReferenceModel, mesh: ProcessMesh) throws {
    let curve = try reference.file("training_curve")
    let prepared = try PreparedModel(
      path: reference.folder, computeDType: .float32, isTrained: true, mesh: mesh)
    let engine = TrainingEngine(model: prepared.model, units: prepared.units)
    let optimizer = AdamW(prepared.units.all, options: AdamW.Options())
    let (losses, norms) = (
      try curve.tensor("loss").floats(), try curve.tensor("grad_norm").floats()
    )
    let rates = try curve.tensor("learning_rate").elements(as: Double.self)
    for step in losses.indices {
      let all = try batches(curve, step: step)
      let own = all.indices.filter { $0 % mesh.dataRankCount == mesh.dataRank }
      let measured = try engine.accumulateGradients(own.map { all[$0] })
      let gradientNorm = try GradientNorm(prepared.units)
      let norm = gradientNorm.value
      #expect(gradientNorm.nonFiniteUnit == nil)
      optimizer.step(learningRate: rates[step], gradientScale: min(1, 1 / (norm + 1e-6)))
      // A change of the weights by 3e-7 moves the curve by 4e-6 in loss and 7e-5 in norm.
      #expect(
        abs(measured.loss - Double(losses[step])) < 1e-4 * Double(losses[step]), "step \(step)")
      #expect(abs(norm - Double(norms[step])) < 1e-3 * Double(norms[step]), "step \(step)")
    }
  }

  private func batches(_ curve: SafetensorsFile, step: Int) throws -> [MicroBatch] {
    let tokens = try curve.tensor("tokens").selected(dim: 0, index: step)
    let labels = try curve.tensor("labels").selected(dim: 0, index: step)
    let lengths = try curve.tensor("lengths").selected(dim: 0, index: step)
    return (0..<tokens.size(0)).map { row in
      var bounds = [0]
      for length in lengths.selected(dim: 0, index: row).integers() where length > 0 {
        bounds.append(bounds[bounds.count - 1] + Int(length))
      }
      return packedBatch(
        ids: tokens.selected(dim: 0, index: row), labels: labels.selected(dim: 0, index: row),
        bounds: bounds)
    }
  }
}
