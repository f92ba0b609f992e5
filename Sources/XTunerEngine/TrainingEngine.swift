import Torch
package import XTunerModels
package import XTunerNN
package import XTunerParallel
package import XTunerMoE
import XTunerSystem

/// Runs forward and backward passes of one model over the ranks of a mesh: it owns the schedule over
/// blocks, stages and micro-batches.
///
/// Confined to the thread that created it, since libtorch keeps the grad mode per thread.
package final class TrainingEngine {
  package struct Options: Sendable {
    package var chunkSize = 1024
    package var zLoss = 0.0
    package var routerLoss = RouterLossWeights.none
    /// Whether the balance loss counts the rows of a whole step, not of a round: where a step has several
    /// rounds, the layers run forward once more before the first one.
    package var countsRowsOfStep = false
    /// Layers from the first whose forward pass is run again in backward.
    package var recomputedLayerCount = 0
    /// Stages of recomputed layers whose results are kept all the same.
    package var keptStages: Set<StageName> = []
    /// Whether inputs of recomputed layers wait for backward in host memory.
    package var swapsActivations = false
    /// Micro-batches that are interleaved inside blocks.
    package var interleave = 1
    package var prefetch = 1
    package var reshard = Schedule.Reshard.afterForward
    package var gradientWire = GradientWire.float32
    package var forcedRouting: ForcedRouting?
    /// Whether an operation inside a step that makes the host wait for the device stops the process, see
    /// `Device.forbiddingWaits`; what several ranks exchange through host memory waits.
    package var forbidsWaits = false

    package init() {}
  }

  package let model: LanguageModel
  package let units: ModelUnits
  package let options: Options
  package let mesh: ProcessMesh
  let exchanges: StageExchanges
  let crossEntropy: LinearCrossEntropy
  let layerPlans: [LayerPlan]
  /// How the time of steps is measured.
  package let instruments = Instruments()
  package let swap: HostSwap

  package init(model: LanguageModel, units: ModelUnits, options: Options = Options()) {
    self.model = model
    self.units = units
    self.options = options
    self.mesh = units.mesh
    let exchanges = StageExchanges(units.mesh, instruments: instruments)
    precondition(
      !options.forbidsWaits || units.mesh.device.canForbidWaits,
      "\(units.mesh.device) cannot refuse to wait")
    self.swap = HostSwap(device: units.mesh.device, instruments: instruments)
    self.exchanges = exchanges
    self.crossEntropy = LinearCrossEntropy(chunkSize: options.chunkSize, zLoss: options.zLoss)
    self.layerPlans = model.blocks.enumerated().map { index, block in
      Self.plan(index, block, options) { exchanges.isActive($0) }
    }
  }

  /// What the schedule needs to know of the block at `index`.
  static func plan(
    _ index: Int, _ block: any Block, _ options: Options, isActive: (Stage.Travel) -> Bool
  ) -> LayerPlan {
    let stages = block.stages
    let isRecomputed = index < options.recomputedLayerCount
    return LayerPlan(
      name: block.name, stages: stages.map(\.name), routesTokens: block.routedExperts != nil,
      travelling: Set(stages.indices.filter { isActive(stages[$0].travel) }),
      recorded: isRecomputed
        ? Set(stages.indices.filter { options.keptStages.contains(stages[$0].name) }) : nil,
      swapsInput: isRecomputed && options.swapsActivations)
  }

  /// The schedule of one round of a step.
  package func schedule(isFirstRound: Bool = true, isLastRound: Bool = true) -> Schedule {
    Schedule(
      layers: layerPlans,
      options: scheduleOptions(isFirstRound: isFirstRound, isLastRound: isLastRound))
  }

  func scheduleOptions(isFirstRound: Bool, isLastRound: Bool) -> Schedule.Options {
    options.schedule(
      isSharded: units.groups.contains { $0.isSharded }, isReduced: mesh.world.size > 1,
      tiesHead: model.head.weight == nil, isFirstRound: isFirstRound, isLastRound: isLastRound)
  }

  /// Forgets the gradients, then adds up those of all micro-batches of one optimizer step, over all
  /// ranks.
  ///
  /// The divisor of the loss is the sum of all targets' weights of all ranks, so that loss and
  /// gradients do not depend on how the step is cut into ranks and micro-batches. Ranks may bring
  /// different numbers of micro-batches: those that have fewer run along with empty ones.
  package func accumulateGradients(_ microBatches: [MicroBatch]) throws -> StepMeasurement {
    for unit in units.all { unit.clearGradients() }
    try units.quantize()
    let own = microBatches.map {
      $0.slice(mesh.sequence.index, of: mesh.sequence.size)
    }
    let shares = try mesh.world.gatherValues(
      [
        own.reduce(0) { $0 + $1.weightSum }, Double(own.reduce(0) { $0 + $1.tokens.count }),
        Double(own.count),
      ], label: "step")
    let divisor = shares.reduce(0) { $0 + $1[0] }
    precondition(divisor > 0, "a step needs at least one token with a loss")
    let largestCount = Int(shares.map { $0[2] }.max() ?? 0)
    let roundCount = max((largestCount + options.interleave - 1) / options.interleave, 1)
    let stepTokenCount = Int(shares.reduce(0) { $0 + $1[1] })
    let roundTokenCounts = try tokenCounts(own, roundCount: roundCount, stepTokenCount)
    var measurement = StepMeasurement()
    measurement.roundCount = roundCount
    var readings = StepReadings()
    try forbiddingWaitsIfAsked {
      let stepRowsLE =
        options.countsRowsOfStep && options.routerLoss.balance > 0 && roundCount > 1
        ? try countRows(own, roundCount: roundCount, &measurement) : nil
      if let stepRowsLE { readings.add(expertCounts: stepRowsLE) }
      for round in 0..<roundCount {
        let pass = TrainingRound(
          self, batches(of: round, own), divisor: divisor,
          tokenCount: stepRowsLE == nil ? roundTokenCounts[round] : stepTokenCount,
          stepTokenCount: stepTokenCount, isLast: round == roundCount - 1, stepRowsLE: stepRowsLE)
        try pass.run(
          schedule(isFirstRound: round == 0, isLastRound: round == roundCount - 1), &measurement)
        readings.append(pass.readings)
      }
    }
    try instruments.wait(for: .reduce, "gradients") {
      for group in units.groups { try group.finishReduction() }
      for unit in units.all { try unit.finishReplicas() }
    }
    // On a device most of the step's time passes here, since nothing before waited for it.
    measurement.backwardSeconds +=
      ContinuousClock().measure {
        readings.read(into: &measurement)
      }.seconds
    let waits = instruments.exposed.take()
    measurement.communicationSeconds = [.gather, .reduce, .exchange].reduce(0) {
      $0 + (waits[$1] ?? 0)
    }
    measurement.replaceSums(by: try mesh.world.gatherValues(measurement.sums, label: "measured"))
    return measurement
  }

  /// The rows of each expert of each layer over all ranks and rounds of a step, `[L, E]` int64; nil without
  /// experts.
  ///
  /// A forward pass without gradients and without the head. The rounds that follow choose the same experts:
  /// weights and inputs are the same, and so is the arithmetic.
  func countRows(
    _ own: [MicroBatch], roundCount: Int, _ measurement: inout StepMeasurement
  ) throws -> Tensor? {
    let schedule = Schedule.counting(
      layers: layerPlans, options: scheduleOptions(isFirstRound: true, isLastRound: true))
    var rowsLE: Tensor?
    try withoutGradients {
      for round in 0..<roundCount {
        let pass = TrainingRound(
          self, batches(of: round, own), divisor: 1, tokenCount: 0, stepTokenCount: 0,
          purpose: .counting)
        var passed = StepMeasurement()
        try pass.run(schedule, &passed)
        measurement.forwardSeconds += passed.forwardSeconds
        guard let roundLE = pass.ownRows else { return }
        rowsLE = rowsLE.map { $0 + roundLE } ?? roundLE
      }
    }
    guard let rowsLE else { return nil }
    let work = try mesh.world.allReduce(rowsLE, label: "rows of experts")
    try instruments.wait(for: .reduce, "rows of experts") { try work.wait() }
    return rowsLE
  }

  /// This rank's micro-batches of a round, empty ones where it has no more.
  private func batches(of round: Int, _ own: [MicroBatch]) -> [MicroBatch] {
    (0..<options.interleave).map { place in
      let index = round * options.interleave + place
      return index < own.count ? own[index] : MicroBatch()
    }
  }

  /// The tokens of each round over all ranks.
  private func tokenCounts(
    _ own: [MicroBatch], roundCount: Int, _ stepTokenCount: Int
  ) throws -> [Int] {
    guard roundCount > 1 else { return [stepTokenCount] }
    let counts = (0..<roundCount).map { round in
      Double(batches(of: round, own).reduce(0) { $0 + $1.tokens.count })
    }
    let ranks = try mesh.world.gatherValues(counts, label: "tokens of rounds")
    return counts.indices.map { round in Int(ranks.reduce(0) { $0 + $1[round] }) }
  }

  private func forbiddingWaitsIfAsked(_ body: () throws -> Void) rethrows {
    guard options.forbidsWaits else { return try body() }
    try mesh.device.forbiddingWaits(body)
  }

  /// The weighted sum of the negative log-likelihoods of `batch`, and the sum of the weights.
  ///
  /// Every rank calls it equally often; one that has no more data gives an empty micro-batch. The
  /// sums are this rank's own. `ModelUnits.quantize` has to have seen the weights.
  package func evaluate(_ batch: MicroBatch) throws -> (lossSum: Double, weightSum: Double) {
    let own = batch.slice(mesh.sequence.index, of: mesh.sequence.size)
    return (try forward(own).loss, own.weightSum)
  }

  /// A forward pass over this rank's part of a micro-batch, with a divisor of 1.
  func forward(_ own: MicroBatch, check: FiniteCheck? = nil) throws -> StepMeasurement {
    var measurement = StepMeasurement()
    let pass = TrainingRound(
      self, [own], divisor: 1, tokenCount: own.tokens.count, stepTokenCount: 1,
      purpose: .evaluation, check: check)
    let schedule = Schedule.evaluation(
      layers: layerPlans, options: scheduleOptions(isFirstRound: true, isLastRound: true))
    try withoutGradients { try pass.run(schedule, &measurement) }
    pass.readings.read(into: &measurement)
    return measurement
  }
}

extension TrainingEngine.Options {
  /// The options of a round's schedule.
  func schedule(
    isSharded: Bool, isReduced: Bool, tiesHead: Bool, isFirstRound: Bool, isLastRound: Bool
  ) -> Schedule.Options {
    var schedule = Schedule.Options()
    schedule.microBatchCount = interleave
    schedule.isSharded = isSharded
    schedule.isReduced = isReduced
    schedule.prefetch = prefetch
    schedule.reshard = reshard
    schedule.tiesHead = tiesHead
    schedule.isFirstRound = isFirstRound
    schedule.isLastRound = isLastRound
    return schedule
  }
}
