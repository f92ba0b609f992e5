import Torch
package import XTunerCheckpoint
import XTunerConfiguration
package import XTunerParallel

/// Muon on this rank's part of flat units: matrices move by their orthogonalised momentum, all other
/// parameters by AdamW with the same learning rate.
///
/// Updates of matrices are scaled to the root mean square of AdamW's, so that learning rate and
/// weight decay mean what they mean there.
///
/// A matrix is orthogonalised whole, by one rank of the unit's group. Each rank forms the directions
/// of its part, sends them to the ranks that the matrices were dealt to, and gets the updates of its
/// part back; the directions of the next unit travel while one is computed.
///
/// Memory: 4 bytes an element of the own part for momentum, and 4 more for elements that AdamW
/// updates. With bfloat16 weights, gradients and master weights a matrix's element takes 14 bytes,
/// any other 18, as all do with AdamW. In a step, of two units at a time: the own part's directions and the own matrices, twice
/// each while they travel, in float32; never a whole unit of several ranks.
package final class Muon {
  package struct Options: Sendable, Hashable {
    /// Decay rate of the running mean of gradients.
    package var momentum = 0.95
    /// Whether the direction looks one step ahead of the mean.
    package var usesNesterov = true
    /// How matrices are orthogonalised.
    package var newtonSchulz = NewtonSchulz()
    /// For what is not a matrix; its weight decay is for matrices too.
    package var adamW = AdamW.Options()

    package init() {}
  }

  /// The state of one unit.
  package struct State {
    package let unit: FlatUnit
    let plan: MuonPlan
    /// Momentum of matrices and first moments of the rest, `[shardRange.count]` float32.
    package let first: RestingTensor
    /// Second moments of what AdamW updates, one parameter after another; nil where nothing is.
    package let second: RestingTensor?

    func prefetch() {
      first.prefetch()
      second?.prefetch()
    }
  }

  /// What a unit's matrices are to be computed from, on its way.
  private struct Directions {
    /// Of the own part; takes the updates in the end.
    var shard: Tensor
    var arriving: (work: Work, packed: Tensor)?
  }

  /// Elements that are orthogonalised at once: a bound of the memory for products.
  private static let batchElementCount = 1 << 26

  package let options: Options
  package let states: [State]
  /// Updates done; a skipped step is not one.
  package var stepCount = 0

  /// Moments of zeros; with `swap` they rest in host memory but for the update of their unit.
  package init(_ units: [FlatUnit], options: Options, swap: HostSwap? = nil) {
    self.options = options
    self.states = units.map { unit in
      func zeros(_ count: Int) -> RestingTensor {
        RestingTensor(Tensor.zeros([count], dtype: .float32, device: unit.device), swap: swap)
      }
      let plan = MuonPlan(unit)
      return State(
        unit: unit, plan: plan, first: zeros(unit.shardRange.count),
        second: plan.rest.isEmpty ? nil : zeros(plan.restCount))
    }
  }

  /// Updates all weights with the gradients times `gradientScale`; every rank takes part.
  ///
  /// - Throws: `CommunicationError`; weights are then of no use.
  package func step(learningRate: Double, gradientScale: Double) throws {
    stepCount += 1
    try withoutGradients {
      var next = try states.first.flatMap {
        try begin($0, learningRate: learningRate, gradientScale: gradientScale)
      }
      for (index, state) in states.enumerated() {
        let current = next
        next = nil
        // Alone nothing travels, so the next unit need not be in memory yet.
        let looksAhead = index + 1 < states.count && state.unit.group.size > 1
        if looksAhead {
          next = try begin(
            states[index + 1], learningRate: learningRate, gradientScale: gradientScale)
        }
        if let current { try finish(state, current, learningRate: learningRate) }
        if index + 1 < states.count && !looksAhead {
          next = try begin(
            states[index + 1], learningRate: learningRate, gradientScale: gradientScale)
        }
      }
    }
  }

  // MARK: Before directions travel

  /// Updates the moments and what AdamW updates, and sends the directions of matrices on their way;
  /// nil for a unit without matrices.
  private func begin(
    _ state: State, learningRate: Double, gradientScale: Double
  ) throws -> Directions? {
    state.prefetch()
    let (unit, plan) = (state.unit, state.plan)
    let gradient = unit.finishedGradient()
    let shard =
      plan.matrices.isEmpty
      ? nil : Tensor.zeros([unit.shardRange.count], dtype: .float32, device: unit.device)
    state.first.use { first in
      if let shard {
        for run in plan.runs {
          direct(
            part(shard, run.range), momentum: part(first, run.range),
            gradient: part(gradient, run.range), gradientScale: gradientScale)
        }
      }
      state.second?.use { second in
        updateRest(
          unit, plan, gradient: gradient, first: first, second: second, learningRate: learningRate,
          gradientScale: gradientScale)
      }
    }
    guard let shard else { return nil }
    guard unit.group.size > 1 else { return Directions(shard: shard) }
    let packed = Tensor.empty([plan.ownCount], dtype: .float32, device: unit.device)
    let work = try unit.group.allToAll(
      into: packed, from: Self.packed(shard, plan.sent), outputCounts: plan.received.map(\.total),
      inputCounts: plan.sent.map(\.total), label: unit.name)
    return Directions(shard: shard, arriving: (work, packed))
  }

  /// `direction` is zeros and takes the direction; `momentum` becomes the new mean.
  private func direct(
    _ direction: Tensor, momentum: Tensor, gradient: Tensor, gradientScale: Double
  ) {
    let share = (1 - options.momentum) * gradientScale
    momentum.scale(by: .real(options.momentum))
    momentum.add(gradient, alpha: .real(share))
    guard options.usesNesterov else { return direction.copy(from: momentum) }
    direction.add(gradient, alpha: .real(share))
    direction.add(momentum, alpha: .real(options.momentum))
  }

  private func updateRest(
    _ unit: FlatUnit, _ plan: MuonPlan, gradient: Tensor, first: Tensor, second: Tensor,
    learningRate: Double, gradientScale: Double
  ) {
    let adamW = options.adamW
    let master = master(unit)
    let copy = unit.computeDType == .float32 ? nil : unit.compute
    for rest in plan.rest {
      Tensor.adamW(
        master: part(master, rest.range), gradient: part(gradient, rest.range),
        firstMoment: part(first, rest.range),
        secondMoment: part(second, rest.place..<rest.place + rest.range.count),
        copy: copy.map { part($0, rest.range) }, learningRate: learningRate, beta1: adamW.beta1,
        beta2: adamW.beta2, epsilon: adamW.epsilon,
        weightDecay: rest.isDecayed ? adamW.weightDecay : 0, step: stepCount,
        gradientScale: gradientScale)
    }
  }

  // MARK: After directions have come

  private func finish(_ state: State, _ directions: Directions, learningRate: Double) throws {
    let (unit, plan) = (state.unit, state.plan)
    let shard = directions.shard
    if let arriving = directions.arriving {
      try arriving.work.wait()
      let matrices = Tensor.empty([plan.ownCount], dtype: .float32, device: unit.device)
      Self.unpack(arriving.packed, plan.received, to: matrices)
      orthogonalize(matrices, plan.batches, computeDType: unit.computeDType)
      let updates = Tensor.empty(
        [plan.sent.reduce(0) { $0 + $1.total }], dtype: .float32, device: unit.device)
      try unit.group.allToAll(
        into: updates, from: Self.packed(matrices, plan.received),
        outputCounts: plan.sent.map(\.total), inputCounts: plan.received.map(\.total),
        label: unit.name
      ).wait()
      Self.unpack(updates, plan.sent, to: shard)
    } else {
      orthogonalize(shard, plan.batches, computeDType: unit.computeDType)
    }
    let master = master(unit)
    for run in plan.runs {
      let weights = part(master, run.range)
      if run.isDecayed {
        weights.scale(by: .real(1 - learningRate * options.adamW.weightDecay))
      }
      weights.add(part(shard, run.range), alpha: .real(-learningRate * run.scale))
      if unit.computeDType != .float32 { part(unit.compute, run.range).copy(from: weights) }
    }
  }

  /// Replaces the matrices in a flat buffer; products are in bfloat16 where those of the model are.
  private func orthogonalize(
    _ buffer: Tensor, _ batches: [MuonPlan.Batch], computeDType: DType
  ) {
    for batch in batches {
      let size = batch.rows * batch.columns
      let most = max(Self.batchElementCount / size, 1)
      for first in stride(from: 0, to: batch.places.count, by: most) {
        let targets = batch.places[first..<min(first + most, batch.places.count)].map {
          part(buffer, $0..<$0 + size).view([batch.rows, batch.columns])
        }
        let results = options.newtonSchulz.orthogonalized(
          Tensor.stacked(targets), dtype: computeDType)
        for (index, target) in targets.enumerated() {
          target.copy(from: results.selected(dim: 0, index: index))
        }
      }
    }
  }

  // MARK: Parts of buffers

  private func master(_ unit: FlatUnit) -> Tensor {
    guard let master = unit.master else {
      preconditionFailure("\(unit.name) was made for inference")
    }
    return master
  }

  private func part(_ tensor: Tensor, _ range: Range<Int>) -> Tensor {
    tensor.narrowed(dim: 0, start: range.lowerBound, length: range.count)
  }

  private static func packed(_ buffer: Tensor, _ pieces: [[MuonPlan.Piece]]) -> Tensor {
    let parts = pieces.joined().map {
      buffer.narrowed(dim: 0, start: $0.place, length: $0.count)
    }
    return parts.isEmpty
      ? Tensor.empty([0], dtype: .float32, device: buffer.device) : Tensor.concatenated(parts)
  }

  private static func unpack(
    _ packed: Tensor, _ pieces: [[MuonPlan.Piece]], to buffer: Tensor
  ) {
    var start = 0
    for piece in pieces.joined() {
      buffer.narrowed(dim: 0, start: piece.place, length: piece.count)
        .copy(from: packed.narrowed(dim: 0, start: start, length: piece.count))
      start += piece.count
    }
  }
}

extension [MuonPlan.Piece] {
  /// Elements of all pieces.
  fileprivate var total: Int { reduce(0) { $0 + $1.count } }
}

extension Muon.Options {
  init(_ options: OptimizerOptions) {
    self.init()
    momentum = options.momentum
    usesNesterov = options.usesNesterov
    newtonSchulz = NewtonSchulz(stepCount: options.newtonSchulzSteps)
    adamW = AdamW.Options(options)
  }
}

extension Muon: Optimizer {
  /// What a checkpoint holds of the units.
  package func checkpointParts(includesMoments: Bool) -> [UnitFiles.Part] {
    states.flatMap { state -> [UnitFiles.Part] in
      var parts = [UnitFiles.Part(unit: state.unit, kind: .weights, tensor: state.unit.weights)]
      guard includesMoments else { return parts }
      parts.append(.init(unit: state.unit, kind: .firstMoments, resting: state.first))
      if let second = state.second {
        parts.append(
          .init(
            unit: state.unit, kind: .secondMoments, resting: second,
            packing: state.plan.rest.map(\.slot)))
      }
      return parts
    }
  }
}
