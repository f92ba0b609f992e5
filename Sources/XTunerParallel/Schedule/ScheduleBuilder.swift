/// Makes the list of a ``Schedule``: first what computes, then the gathers, releases, reductions and
/// swaps around it.
struct ScheduleBuilder {
  /// A part of a block for one micro-batch.
  private struct Piece {
    var block: Int
    var stages: Range<Int>
    var microBatch: Int
  }

  let layers: [LayerPlan]
  let options: Schedule.Options

  init(layers: [LayerPlan], options: Schedule.Options) {
    self.layers = layers
    self.options = options
  }

  private var head: Int { layers.count + 1 }
  private var batches: Range<Int> { 0..<options.microBatchCount }
  private var keepsGathered: Bool { options.reshard == .never }

  mutating func training() -> [ScheduleAction] {
    let pieces = forwardPieces()
    var actions = forward(pieces)
    if layers.contains(where: \.routesTokens) { actions.append(.countRows) }
    actions += batches.map { .loss(microBatch: $0) }
    actions += backward(pieces.reversed())
    return actions
  }

  mutating func evaluation() -> [ScheduleAction] {
    var actions = forward(forwardPieces(), isTraining: false) + [.loss(microBatch: 0)]
    if options.isSharded {
      actions.append(.release(block: head))
      if options.tiesHead { actions.append(.release(block: 0)) }
    }
    return actions
  }

  mutating func counting() -> [ScheduleAction] { forward(forwardPieces(), isTraining: false) }

  // MARK: What computes

  /// Pieces of all layers: within a row all micro-batches, one row after another.
  ///
  /// The last piece of a layer and the first of the next are one row, unless nothing travels and rows
  /// are whole layers.
  private func forwardPieces() -> [Piece] {
    var rows: [[(block: Int, stages: Range<Int>)]] = []
    for (index, layer) in layers.enumerated() {
      for (place, stages) in layer.segments.enumerated() {
        let entry = (block: index + 1, stages: stages)
        let continues = place == 0 && index > 0 && layers[index - 1].segments.count > 1
        if continues { rows[rows.count - 1].append(entry) } else { rows.append([entry]) }
      }
    }
    return rows.flatMap { row in
      batches.flatMap { batch in
        row.map { Piece(block: $0.block, stages: $0.stages, microBatch: batch) }
      }
    }
  }

  // MARK: Forward

  private func forward(_ pieces: [Piece], isTraining: Bool = true) -> [ScheduleAction] {
    var actions: [ScheduleAction] = []
    var gathered: Set<Int> = []
    let gathers = options.isSharded && !(keepsGathered && !options.isFirstRound)
    func gather(_ block: Int) {
      let end = options.usesHead ? head : layers.count
      guard gathers, block <= end, gathered.insert(block).inserted else { return }
      actions.append(.gather(block: block))
      if block == head && options.tiesHead && gathered.insert(0).inserted {
        actions.append(.gather(block: 0))
      }
    }
    func reach(_ block: Int) {
      for ahead in 0...options.prefetch { gather(block + ahead) }
    }
    func release(_ block: Int) {
      guard options.isSharded, !keepsGathered else { return }
      // Backward needs the last layer next.
      if isTraining && block == layers.count { return }
      actions.append(.release(block: block))
      gathered.remove(block)
    }
    reach(0)
    actions += batches.map { .embed(microBatch: $0) }
    // A tied head that was gathered along with few layers needs it still.
    if !(options.tiesHead && gathered.contains(head)) { release(0) }
    let last = lastIndices(pieces)
    var firstSeen: Set<Int> = []
    for (index, piece) in pieces.enumerated() {
      if firstSeen.insert(piece.block).inserted { reach(piece.block) }
      actions.append(
        .forward(block: piece.block, stages: piece.stages, microBatch: piece.microBatch))
      let layer = layers[piece.block - 1]
      if isTraining && layer.swapsInput && piece.stages.upperBound == layer.stages.count {
        actions.append(.swapOut(block: piece.block, microBatch: piece.microBatch))
      }
      if last[piece.block] == index { release(piece.block) }
    }
    reach(head)
    return actions
  }

  // MARK: Backward

  private func backward(_ pieces: [Piece]) -> [ScheduleAction] {
    var actions: [ScheduleAction] = []
    var gathered: Set<Int> = [head, layers.count]
    let regathers = options.isSharded && !keepsGathered
    let reduces = options.isReduced && (!keepsGathered || options.isLastRound)
    func finish(_ block: Int, reducing: Bool = true) {
      if options.isSharded && (!keepsGathered || options.isLastRound) && block > 0 {
        actions.append(.release(block: block))
      }
      if reduces && reducing { actions.append(.reduce(block: block)) }
    }
    func reach(_ block: Int) {
      for ahead in stride(from: block, through: max(block - options.prefetch, 1), by: -1)
      where regathers && gathered.insert(ahead).inserted {
        actions.append(.gather(block: ahead))
      }
    }
    finish(head)
    if options.tiesHead {
      if options.isSharded && !keepsGathered { actions.append(.release(block: 0)) }
      if reduces && !keepsGathered { actions.append(.reduce(block: 0)) }
    }
    var broughtBack: Set<Int> = []
    func bringBack(_ block: Int) {
      for ahead in stride(from: block, through: max(block - options.swapAhead, 1), by: -1)
      where layers[ahead - 1].swapsInput && broughtBack.insert(ahead).inserted {
        actions += batches.reversed().map { .swapIn(block: ahead, microBatch: $0) }
      }
    }
    let last = lastIndices(pieces)
    var firstSeen: Set<Int> = []
    for (index, piece) in pieces.enumerated() {
      if firstSeen.insert(piece.block).inserted {
        reach(piece.block)
        bringBack(piece.block)
        actions += recomputation(piece.block)
      }
      actions.append(
        .backward(block: piece.block, stages: piece.stages, microBatch: piece.microBatch))
      if last[piece.block] == index { finish(piece.block) }
    }
    actions += batches.reversed().map { .embedBackward(microBatch: $0) }
    if options.isSharded && keepsGathered && options.isLastRound {
      actions.append(.release(block: 0))
    }
    finish(0)
    return actions
  }

  /// The pieces of a layer that are run again, interleaved as in forward.
  private func recomputation(_ block: Int) -> [ScheduleAction] {
    let layer = layers[block - 1]
    guard layer.isRecomputed else { return [] }
    return layer.segments.flatMap { stages in
      batches.reversed().map {
        .recompute(block: block, stages: stages, microBatch: $0)
      }
    }
  }

  private func lastIndices(_ pieces: [Piece]) -> [Int: Int] {
    var last: [Int: Int] = [:]
    for (index, piece) in pieces.enumerated() { last[piece.block] = index }
    return last
  }
}
