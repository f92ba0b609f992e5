import Testing
import Torch
import XTunerCheckpoint
import XTunerModels

@testable import XTunerTrainer

/// Thirty AdamW steps with warm-up, cosine, clipping and two micro-batches a step, recorded from a
/// transformers loop on the same tokens and weights.
@Suite struct TrainingCurveTests {
  @Test(arguments: ReferenceModel.withCurve)
  func lossAndGradientNormEqualTransformersLoop(_ reference: ReferenceModel) throws {
    let curve = try reference.file("training_curve")
    let prepared = try reference.prepared()
    let engine = TrainingEngine(model: prepared.model, units: prepared.units)
    let optimizer = AdamW(prepared.units.all, options: AdamW.Options())
    let (losses, norms) = (
      try curve.tensor("loss").floats(), try curve.tensor("grad_norm").floats()
    )
    let rates = try curve.tensor("learning_rate").elements(as: Double.self)
    for step in losses.indices {
      let measured = try engine.accumulateGradients(try batches(curve, step: step))
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
