/// One optimizer step's packs, and where the data stands after it.
struct LoaderStep: Sendable {
  /// The packs, of all ranks.
  var packs: [Pack]
  var stateAfter: LoaderState
}

/// Makes steps one after another; a value, so that a loader can start again anywhere.
struct StepProducer: Sendable {
  let table: SampleTable
  let options: DataLoaderOptions
  private(set) var state: LoaderState
  private var plan: PackPlan?

  /// `plan` is that of the state's epoch, if it is known already.
  init(
    table: SampleTable, options: DataLoaderOptions, state: LoaderState, plan: PackPlan? = nil
  ) {
    self.table = table
    self.options = options
    self.state = state
    self.plan = plan
  }

  /// The packs of a whole epoch; a function of the options, the data and `epoch`.
  static func plan(
    epoch: Int, table: SampleTable, options: DataLoaderOptions
  ) throws(LoaderError) -> PackPlan {
    let order = try EpochOrder(seed: options.seed, isShuffled: options.isShuffled).samples(
      counts: table.counts, weights: table.weights, epoch: epoch)
    let plan = try options.packing.plan(lengths: table.lengths, order: order)
    guard plan.packCount > 0 else {
      throw LoaderError(
        .emptyData, "data: the \(order.count) samples of epoch \(epoch) have no tokens")
    }
    if options.epochEnd == .dropLast && plan.packCount < options.packsPerStep {
      throw LoaderError(
        .emptyData,
        """
        data: epoch \(epoch) has \(plan.packCount) packs, fewer than the \(options.packsPerStep) \
        of one step, and drop_last leaves them all out: use wrap, or smaller steps
        """)
    }
    guard options.isShuffled && options.rules != .version1 else {
      return grouped(plan, epoch: epoch, options: options)
    }
    var generator = SplitMix64(seed: options.seed, keys: 4, UInt64(epoch))
    let places = PackOrder.places(plan, generator: &generator)
    return grouped(plan.reordered(places), epoch: epoch, options: options)
  }

  /// The packs in steps of alike cost, where options ask for them.
  private static func grouped(
    _ plan: PackPlan, epoch: Int, options: DataLoaderOptions
  ) -> PackPlan {
    guard let grouping = options.grouping else { return plan }
    let costs = (0..<plan.packCount).map { pack in
      let lengths = plan.pieceLengths(inPack: pack).map { Int($0) }
      return grouping.cost.cost(sequenceLengths: lengths, lossTokens: lengths.reduce(0, +))
    }
    // A stream of its own for each epoch, beside the one that orders samples.
    var generator = SplitMix64(seed: options.seed, keys: 3, UInt64(epoch))
    let order = StepGrouping.order(
      costs: costs, packsPerStep: options.packsPerStep,
      windowStepCount: grouping.windowStepCount, generator: &generator)
    return plan.reordered(order.map { Int32($0) })
  }

  /// The next step; nil when the last epoch is over.
  mutating func next() throws(LoaderError) -> LoaderStep? {
    var step: [[PackPiece]] = []
    while step.count < options.packsPerStep {
      guard try moveToNextPack(isInsideStep: !step.isEmpty), let plan else { break }
      let pieces = plan.pieces(inPack: state.packsConsumed)
      step.append(pieces)
      state.packsConsumed += 1
      for piece in pieces {
        state.tokensConsumed += piece.length
        if piece.start + piece.length == table.length(of: piece.sample) {
          state.samplesConsumed += 1
        }
      }
    }
    guard !step.isEmpty else { return nil }
    return LoaderStep(packs: step.map { table.pack($0) }, stateAfter: state)
  }

  /// Goes to the next epoch where the current one is over; false at the end of the data.
  private mutating func moveToNextPack(isInsideStep: Bool) throws(LoaderError) -> Bool {
    while true {
      if let epochLimit = options.epochLimit, state.epoch >= epochLimit { return false }
      let current: PackPlan
      if let plan {
        current = plan
      } else {
        current = try Self.plan(epoch: state.epoch, table: table, options: options)
        plan = current
      }
      let needed =
        options.epochEnd == .dropLast && !isInsideStep ? options.packsPerStep : 1
      if state.packsConsumed + needed <= current.packCount { return true }
      state.epoch += 1
      state.packsConsumed = 0
      plan = nil
    }
  }
}
