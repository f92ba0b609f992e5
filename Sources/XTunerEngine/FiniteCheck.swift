import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

/// Looks at what a forward pass makes, for the first place that is not finite.
///
/// It waits for the device at each stage: for a step whose gradient was not finite, not for every one.
final class FiniteCheck {
  /// More than a block has stages: what places count in.
  private static let stagesPerBlock = 64

  /// The first place so far, in the order of the forward pass; nil where all is finite.
  private(set) var firstPlace: Int?

  /// Looks at the tensors that a stage of a block has made.
  func look(_ tensors: [Tensor], block: Int, stage: Int = 0) {
    let place = block * Self.stagesPerBlock + stage
    guard place < firstPlace ?? .max else { return }
    let isFinite = tensors.allSatisfy { tensor in
      !tensor.dtype.isFloatingPoint || tensor.isFiniteMask().allTrue().item() != 0
    }
    if !isFinite { firstPlace = place }
  }

  /// What a place is called: `embedding`, `stage experts of layers.3`, `head`.
  static func name(_ place: Int, in model: LanguageModel) -> String {
    let (block, stage) = place.quotientAndRemainder(dividingBy: stagesPerBlock)
    guard block > 0 else { return "embedding" }
    guard block <= model.blocks.count else { return "head" }
    let layer = model.blocks[block - 1]
    return "stage \(layer.stages[stage].name) of \(layer.name)"
  }
}

extension TrainingEngine {
  /// Where the forward pass over a step's micro-batches first makes a value that is not finite, over
  /// all ranks: such as `stage experts of layers.3`; nil where all is finite.
  ///
  /// Runs the forward passes again, one micro-batch after another; all ranks call it with theirs, and
  /// the weights must be those of the step.
  package func firstNonFiniteStage(_ microBatches: [MicroBatch]) throws -> String? {
    let counts = try mesh.world.gatherValues([Double(microBatches.count)], label: "micro-batches")
    let check = FiniteCheck()
    for index in 0..<Int(counts.map { $0[0] }.max() ?? 0) {
      let batch = index < microBatches.count ? microBatches[index] : MicroBatch()
      _ = try forward(batch.slice(mesh.sequence.index, of: mesh.sequence.size), check: check)
    }
    // Below 0 for none.
    let places = try mesh.world.gatherValues([Double(check.firstPlace ?? -1)], label: "places")
      .map { Int($0[0]) }
    return places.filter { $0 >= 0 }.min().map { FiniteCheck.name($0, in: model) }
  }
}
