import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Equality with transformers in float32.
///
/// Tolerances: logits 2e-4 absolute, loss 1e-5, every
/// gradient 1e-4 relative in the L2 norm; both sides sum in another order, which is all that differs.
@Suite struct ParityTests {
  @Test(arguments: ReferenceModel.all)
  func logitsEqualTransformers(_ reference: ReferenceModel) throws {
    let expected = try reference.file("expected")
    let prepared = try reference.prepared(isTrained: false)
    let ids = try expected.tensor("input_ids")
    let (rows, length) = (ids.size(0), ids.size(1))
    withoutGradients {
      let contexts = prepared.model.makeContexts(
        ModelInput(bounds: (0...rows).map { $0 * length }))
      let hidden = prepared.model.hiddenStates(ids.reshaped([-1]), contexts)
      let logits = prepared.model.head(hidden)
      let difference = largestDifference(
        logits.view([rows, length, -1]), try! expected.tensor("logits"))
      #expect(difference < 2e-4)
    }
  }

  @Test(arguments: ReferenceModel.all, [0, 1, 99])
  func gradientsEqualTransformers(_ reference: ReferenceModel, recomputedLayers: Int) throws {
    let expected = try reference.file("expected")
    let batch = microBatch(
      ids: try expected.tensor("input_ids"), labels: try expected.tensor("labels"))
    try checkGradients(
      reference, [batch], loss: try expected.tensor("loss").item(), gradients: "grads",
      recomputedLayers: recomputedLayers)
  }

  @Test(arguments: ReferenceModel.all)
  func packedGradientsEqualTransformers(_ reference: ReferenceModel) throws {
    let expected = try reference.file("expected")
    let bounds = try expected.tensor("packed.cu_seqlens").integers().map { Int($0) }
    let batch = packedBatch(
      ids: try expected.tensor("packed.input_ids"), labels: try expected.tensor("packed.labels"),
      bounds: bounds)
    try checkGradients(
      reference, [batch], loss: try expected.tensor("packed.loss").item(),
      gradients: "packed_grads", recomputedLayers: 0)
  }

  @Test(arguments: ReferenceModel.all)
  func gradientsDoNotDependOnMicroBatches(_ reference: ReferenceModel) throws {
    let expected = try reference.file("expected")
    let (ids, labels) = (try expected.tensor("input_ids"), try expected.tensor("labels"))
    let batches = (0..<ids.size(0)).map { row in
      microBatch(
        ids: ids.narrowed(dim: 0, start: row, length: 1),
        labels: labels.narrowed(dim: 0, start: row, length: 1))
    }
    try checkGradients(
      reference, batches, loss: try expected.tensor("loss").item(), gradients: "grads",
      recomputedLayers: 0)
  }

  private func checkGradients(
    _ reference: ReferenceModel, _ batches: [MicroBatch], loss: Double, gradients: String,
    recomputedLayers: Int
  ) throws {
    let prepared = try reference.prepared()
    var options = TrainingEngine.Options()
    options.chunkSize = 7
    options.recomputedLayerCount = recomputedLayers
    let engine = TrainingEngine(model: prepared.model, units: prepared.units, options: options)
    let measured = try engine.accumulateGradients(batches)
    #expect(abs(measured.loss - loss) < 1e-5)
    let recorded = try reference.file(gradients)
    let tensors = HFWeights.tensors(of: prepared.model, units: prepared.units, dtype: .float32) {
      $0.finishedGradient()
    }
    #expect(Set(tensors.map(\.name)) == Set(recorded.names))
    for tensor in tensors {
      let difference = relativeDifference(try tensor.make(), try recorded.tensor(tensor.name))
      #expect(difference < 1e-4, "\(tensor.name): \(difference)")
    }
  }
}
