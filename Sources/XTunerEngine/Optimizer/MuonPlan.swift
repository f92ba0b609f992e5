import Torch
import XTunerNN
package import XTunerParallel

/// Which elements of a flat unit are matrices for Muon, which rank orthogonalises each, and what the
/// ranks send each other for that.
///
/// A matrix is what the model multiplies by: each expert's is one, and so are gate and up where they
/// are fused. Embeddings, the head, norms, biases and routers are left to AdamW.
package struct MuonPlan {
  /// A matrix of the unit.
  struct Matrix: Hashable {
    /// Where it starts in the unit.
    var offset: Int
    var rows: Int
    var columns: Int
    var isDecayed: Bool
    /// The place in the group of the rank that orthogonalises it.
    var owner = 0

    var range: Range<Int> { offset..<offset + rows * columns }
    /// Proportional to the operations of a Newton-Schulz step.
    var cost: Int { rows * columns * min(rows, columns) }
    /// An orthogonal matrix times this has the root mean square of an AdamW update, 0.2 (Moonlight),
    /// so that learning rates and weight decay are those of AdamW.
    var scale: Double { 0.2 * Double(max(rows, columns)).squareRoot() }
  }

  /// Elements of this rank's part that are updated alike.
  struct Run: Hashable {
    /// Counted in the own part.
    var range: Range<Int>
    var scale: Double
    var isDecayed: Bool
  }

  /// A parameter's elements in this rank's part that AdamW updates.
  struct Rest {
    let slot: FlatUnit.Slot
    /// Counted in the own part.
    let range: Range<Int>
    /// Where they start in the second moments, which have these elements only.
    let place: Int
    let isDecayed: Bool
  }

  /// Consecutive elements of a buffer.
  struct Piece: Hashable {
    var place: Int
    var count: Int
  }

  /// Own matrices of one shape, by where they start in the buffer of own matrices.
  struct Batch: Hashable {
    var rows: Int
    var columns: Int
    var places: [Int]
  }

  /// All matrices, in the order of their places.
  let matrices: [Matrix]
  let runs: [Run]
  let rest: [Rest]
  /// Those that this rank orthogonalises.
  let batches: [Batch]
  /// Elements of the matrices that this rank orthogonalises.
  let ownCount: Int
  /// Pieces of the own part by the rank that orthogonalises them; empty in a group of one rank.
  let sent: [[Piece]]
  /// Pieces of the own matrices by the rank whose part they are in; empty in a group of one rank.
  let received: [[Piece]]

  /// Whether Muon updates a parameter.
  static func updates(_ parameter: Parameter) -> Bool {
    parameter.kind == .matrix && parameter.precision == .compute && parameter.shape.count >= 2
  }

  /// The plan of a unit; the same on all ranks of its group but for what is this rank's own.
  ///
  /// Experts must be whole: no expert tensor parallelism.
  package init(_ unit: FlatUnit) {
    let matrices = Self.deal(Self.matrices(of: unit), over: unit.group.size)
    self.matrices = matrices
    runs = Self.runs(matrices, unit)
    rest = Self.rest(unit)
    let own = matrices.filter { $0.owner == unit.group.index }
    ownCount = own.reduce(0) { $0 + $1.range.count }
    let isAlone = unit.group.size == 1
    // Alone, the buffer of own matrices is the unit itself.
    var places: [Int] = []
    var end = 0
    for matrix in own {
      places.append(isAlone ? matrix.offset : end)
      end += matrix.range.count
    }
    batches = Self.batches(own, places)
    let share = unit.shardRange.count
    let holders = isAlone ? 0..<0 : 0..<unit.group.size
    sent = holders.map { owner in
      matrices.filter { $0.owner == owner }.compactMap { matrix in
        let part = matrix.range.clamped(to: unit.shardRange)
        return part.isEmpty
          ? nil : Piece(place: part.lowerBound - unit.shardRange.lowerBound, count: part.count)
      }
    }
    received = holders.map { holder in
      zip(own, places).compactMap { matrix, place in
        let part = matrix.range.clamped(to: holder * share..<(holder + 1) * share)
        return part.isEmpty
          ? nil : Piece(place: place + part.lowerBound - matrix.offset, count: part.count)
      }
    }
  }

  /// Elements of the second moments.
  var restCount: Int { rest.reduce(0) { $0 + $1.range.count } }

  // MARK: Parts of the plan

  private static func matrices(of unit: FlatUnit) -> [Matrix] {
    unit.slots.filter { updates($0.parameter) }.flatMap { slot -> [Matrix] in
      let parameter = slot.parameter
      precondition(
        slot.slice.shape == parameter.shape
          && zip(slot.slice.ranges, parameter.shape).dropFirst().allSatisfy { $0.count == $1 },
        "\(parameter.name): Muon needs whole matrices, the slice is \(slot.slice.ranges)")
      let shape = parameter.localShape
      let rowDim = shape.count - 2
      var blockCount = 1
      if let split = parameter.tensorSplit, split.blockCount > 1 {
        precondition(
          split.dim == rowDim, "\(parameter.name): matrices must lie one after another")
        blockCount = split.blockCount
      }
      let (rows, columns) = (shape[rowDim] / blockCount, shape[rowDim + 1])
      guard rows * columns > 0 else { return [] }
      return stride(from: slot.offset, to: slot.range.upperBound, by: rows * columns).map {
        Matrix(
          offset: $0, rows: rows, columns: columns,
          isDecayed: slot.range.upperBound <= unit.decayedCount)
      }
    }
  }

  /// Gives the costliest matrix first, each to the rank that has the least to do.
  static func deal(_ matrices: [Matrix], over rankCount: Int) -> [Matrix] {
    var dealt = matrices
    var loads = Array(repeating: 0, count: rankCount)
    // Order and choice are fixed for equal costs too: all ranks must come to the same plan.
    let order = matrices.indices.sorted { (-matrices[$0].cost, $0) < (-matrices[$1].cost, $1) }
    for index in order {
      var least = 0
      for rank in loads.indices where loads[rank] < loads[least] { least = rank }
      dealt[index].owner = least
      loads[least] += matrices[index].cost
    }
    return dealt
  }

  private static func runs(_ matrices: [Matrix], _ unit: FlatUnit) -> [Run] {
    var runs: [Run] = []
    for matrix in matrices {
      let own = matrix.range.clamped(to: unit.shardRange)
      guard !own.isEmpty else { continue }
      let start = own.lowerBound - unit.shardRange.lowerBound
      let run = Run(
        range: start..<start + own.count, scale: matrix.scale, isDecayed: matrix.isDecayed)
      if let last = runs.last, last.range.upperBound == start, last.scale == run.scale,
        last.isDecayed == run.isDecayed
      {
        runs[runs.count - 1].range = last.range.lowerBound..<run.range.upperBound
      } else {
        runs.append(run)
      }
    }
    return runs
  }

  private static func rest(_ unit: FlatUnit) -> [Rest] {
    var rest: [Rest] = []
    var place = 0
    for slot in unit.slots where !updates(slot.parameter) {
      let own = slot.range.clamped(to: unit.shardRange)
      guard !own.isEmpty else { continue }
      let start = own.lowerBound - unit.shardRange.lowerBound
      rest.append(
        Rest(
          slot: slot, range: start..<start + own.count, place: place,
          isDecayed: slot.range.upperBound <= unit.decayedCount))
      place += own.count
    }
    return rest
  }

  private static func batches(_ own: [Matrix], _ places: [Int]) -> [Batch] {
    var batches: [Batch] = []
    for (matrix, place) in zip(own, places) {
      if let index = batches.firstIndex(where: {
        $0.rows == matrix.rows && $0.columns == matrix.columns
      }) {
        batches[index].places.append(place)
      } else {
        batches.append(Batch(rows: matrix.rows, columns: matrix.columns, places: [place]))
      }
    }
    return batches
  }
}
