import Torch
package import XTunerModels
import XTunerParallel

/// The norm of all gradients of a model, over all ranks.
package struct GradientNorm {
  /// The norm; not finite where a gradient is not.
  package let value: Double
  /// The first unit whose gradient is not finite.
  package let nonFiniteUnit: String?

  /// Adds up the squares of every part once, units in their order and ranks in theirs, so that the
  /// result is the same on all ranks and in every run.
  package init(_ units: ModelUnits) throws {
    let isCounted = units.mesh.replicate.index == 0
    let own = units.all.map { unit in
      guard isCounted else { return 0.0 }
      return unit.gradientPieces().reduce(0) { $0 + $1.gradient.squaredSum().item() }
    }
    let ranks = try units.mesh.world.gatherValues(own, label: "gradient norm")
    var sum = 0.0
    var nonFinite: String?
    for (index, unit) in units.all.enumerated() {
      for squares in ranks {
        if !squares[index].isFinite && nonFinite == nil { nonFinite = unit.name }
        sum += squares[index]
      }
    }
    value = sum.squareRoot()
    nonFiniteUnit = nonFinite
  }
}
