import Torch
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
