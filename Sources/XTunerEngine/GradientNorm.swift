import Torch
import XTunerModels
import XTunerNN
package import XTunerParallel

/// The norm of all gradients of a model, over all ranks.
package struct GradientNorm {
  /// The norm; not finite where a gradient is not.
  package let value: Double
  /// The last unit in the order of the forward pass whose gradient is not finite: backward goes the
  /// other way, and what is not finite spreads from there to all before it.
  package let nonFiniteUnit: String?

  /// Adds up the squares of every part once, units in their order and ranks in theirs, so that the
  /// result is the same on all ranks and in every run.
  package init(_ units: ModelUnits) throws {
    let isCounted = units.mesh.replicate.index == 0
    let own =
      isCounted ? Self.squares(units.all) : Array(repeating: 0, count: units.all.count)
    let ranks = try units.mesh.world.gatherValues(own, label: "gradient norm")
    var sum = 0.0
    var nonFinite: String?
    for (index, unit) in units.all.enumerated() {
      for squares in ranks {
        if !squares[index].isFinite { nonFinite = unit.name }
        sum += squares[index]
      }
    }
    value = sum.squareRoot()
    nonFiniteUnit = nonFinite
  }

  /// The sum of the squares of each unit's own part; a device is waited for once, not for each piece.
  private static func squares(_ units: [FlatUnit]) -> [Double] {
    let sums = units.map { unit in unit.gradientPieces().map { $0.gradient.squaredSum() } }
    let numbers = Tensor.stacked(sums.flatMap { $0 }, dim: 0).to(.cpu).to(.float64)
      .elements(as: Double.self)
    var rest = numbers[...]
    return sums.map { pieces in
      defer { rest = rest.dropFirst(pieces.count) }
      return rest.prefix(pieces.count).reduce(0, +)
    }
  }
}

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
