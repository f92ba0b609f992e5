import Torch
import XTunerModels
package import XTunerParallel
package import XTunerEngine

/// A step whose exchanges can run under the computation of another micro-batch: two micro-batches of 256
/// tokens a rank through three layers with experts on two ranks.
package enum DominoTrial {
  package static let layout = ParallelLayout(worldSize: 2, expert: 2)

  package static func step(
    _ mesh: ProcessMesh, interleave: Int, timeline: TimelineRecorder? = nil
  ) throws -> StepMeasurement {
    var configuration = ModelConfiguration.qwen3MoE(
      vocabularySize: 512, hiddenSize: 256, expertCount: 8, expertsPerToken: 2, expertSize: 256,
      layerCount: 3, headCount: 4, keyValueHeadCount: 2, headSize: 64, ropeBase: 10_000)
    configuration.normEpsilon = 1e-6
    let prepared = PreparedModel(
      configuration, computeDType: .float32, isTrained: true, mesh: mesh)
    prepared.initialize(seed: 1)
    var options = TrainingEngine.Options()
    options.interleave = interleave
    let engine = TrainingEngine(
      model: prepared.model, units: prepared.units, options: options)
    engine.instruments.timeline = timeline
    let batches = (0..<2).map { index in
      var batch = MicroBatch()
      let tokens = (0..<256).map { Int32(($0 * 37 + index * 11 + mesh.rank * 5) % 500) }
      batch.append(tokens: tokens, labels: tokens, reduction: .token)
      return batch
    }
    return try engine.accumulateGradients(batches)
  }
}
