import Torch
import XTunerModels
import XTunerMoE
import XTunerNN
import XTunerParallel
import XTunerSystem

/// Carries out the schedule of one round of micro-batches.
final class TrainingRound {
  /// Blocks whose gradients may be on their way at once: one has all of the next block's backward.
  static let reductionLimit = 1
  /// Layers whose inputs may be on their way to the host at once.
  static let swapLimit = 2

  /// What a round is run for.
  enum Purpose {
    /// Losses and gradients.
    case training
    /// The loss alone.
    case evaluation
    /// The rows of experts alone.
    case counting
  }

  private let engine: TrainingEngine
  private let batches: [MicroBatch]
  private let divisor: Double
  private let tokenCount: Int
  private let stepTokenCount: Int
  private let isLast: Bool
  private let purpose: Purpose
  /// What looks at the forward pass; nil where nothing does.
  private let check: FiniteCheck?
  /// Of each micro-batch and block.
  private let contexts: [[ForwardContext]]
  private let tokens: [Tensor]

  /// Hidden states, then their gradients, of each micro-batch.
  private var hidden: [Tensor?]
  private var executions: [[BlockExecution?]]
  private var reducing: [Int] = []
  private var swapping: [BlockExecution] = []
  private var isEmbeddingDone = false
  /// Gathers and reductions under way, for timelines.
  private var spans: [String: TraceSpan] = [:]  // own names
  /// Rows of each expert of each layer of all ranks, `[L, E]`: of the step where they were counted before,
  /// else of the round, on their way.
  private var counts: (table: Tensor, work: Work?)?
  /// Rows of each expert of a layer with experts that is done, `[E]`, for each micro-batch.
  private var layerRows: [[Tensor]]
  /// Losses and counts, which are read when the step has been issued.
  private(set) var readings = StepReadings()

  private var model: LanguageModel { engine.model }
  private var groups: [UnitGroup] { engine.units.groups }

  /// A round that has not run; `tokenCount`, of what the balance loss counts, and `stepTokenCount` are of all
  /// ranks.
  ///
  /// `stepRowsLE` are the rows of each expert in the whole step, where the balance loss counts those.
  init(
    _ engine: TrainingEngine, _ batches: [MicroBatch], divisor: Double, tokenCount: Int,
    stepTokenCount: Int, isLast: Bool = true, stepRowsLE: Tensor? = nil,
    purpose: Purpose = .training, check: FiniteCheck? = nil
  ) {
    self.engine = engine
    self.batches = batches
    self.divisor = divisor
    self.tokenCount = tokenCount
    self.stepTokenCount = stepTokenCount
    self.isLast = isLast
    self.purpose = purpose
    self.check = check
    counts = stepRowsLE.map { (table: $0, work: nil) }
    layerRows = Array(repeating: [], count: batches.count)
    tokens = batches.map { $0.tokensT(on: engine.mesh.device) }
    contexts = batches.map { batch in
      let contexts = engine.model.makeContexts(
        ModelInput(bounds: batch.bounds, tokens: batch.tokenRange))
      for context in contexts {
        context.headSlice = (engine.mesh.sequence.index, engine.mesh.sequence.size)
        context[ForcedRouting.self] = engine.options.forcedRouting
        if purpose == .training { context.wantedSums = engine.options.routerLoss.sums }
      }
      return contexts
    }
    hidden = Array(repeating: nil, count: batches.count)
    executions = zip(batches, contexts).map { batch, contexts in
      engine.model.blocks.indices.map { index in
        BlockExecution(
          engine.model.blocks[index], plan: engine.layerPlans[index], context: contexts[index],
          exchanges: engine.exchanges, tokenCount: batch.bounds.last ?? 0,
          isTraining: purpose == .training)
      }
    }
    guard let check else { return }
    for layers in executions {
      for (index, execution) in layers.enumerated() {
        execution?.inspect = { check.look($1, block: index + 1, stage: $0) }
      }
    }
  }

  func run(_ schedule: Schedule, _ measurement: inout StepMeasurement) throws {
    let clock = ContinuousClock()
    let start = clock.now
    var turn: ContinuousClock.Instant?
    for action in schedule.actions {
      if turn == nil && action.isBackward { turn = clock.now }
      let timeline = action.computes ? engine.instruments.timeline : nil
      try timeline.record(schedule.line(action), .compute, lane: "schedule") {
        try perform(action)
      }
    }
    for block in reducing { try waitForReduction(groups[block]) }
    let end = clock.now
    measurement.forwardSeconds += ((turn ?? end) - start).seconds
    measurement.backwardSeconds += (end - (turn ?? end)).seconds
    for batch in batches {
      measurement.tokenCount += batch.tokens.count
      measurement.lossTokenCount += batch.targetTokens.count
      // Ranks that share a pack count its samples once.
      guard engine.mesh.sequence.index == 0 else { continue }
      for (start, end) in zip(batch.bounds, batch.bounds.dropFirst()) {
        measurement.squaredLengthSum += Double((end - start) * (end - start))
      }
    }
  }

  private func perform(_ action: ScheduleAction) throws {
    switch action {
    case .gather(let block):
      begin("gather", .gather, groups[block])
      try groups[block].gather()
    case .release(let block): try groups[block].release()
    case .reduce(let block): try reduce(block)
    case .embed(let batch):
      try waitForGather(groups[0])
      let embeddedTD = withoutGradients { model.source(tokens[batch]) }
      check?.look([embeddedTD], block: 0)
      hidden[batch] = embeddedTD
    case .forward(let block, let stages, let batch): try forward(block, stages, batch)
    case .swapOut(let block, let batch): try swapOut(execution(block, batch))
    case .swapIn(let block, let batch): execution(block, batch).swapInputBack(engine.swap)
    case .countRows: try countRows()
    case .loss(let batch): try loss(batch)
    case .recompute(let block, let stages, let batch):
      try waitForGather(groups[block])
      try execution(block, batch).recompute(stages)
    case .backward(let block, let stages, let batch):
      try finishCounting()
      try backward(block, stages, batch)
    case .embedBackward(let batch): try embedBackward(batch)
    }
  }

  private func execution(_ block: Int, _ batch: Int) -> BlockExecution {
    guard let execution = executions[batch][block - 1] else {
      preconditionFailure("block \(block) is used after its backward")
    }
    return execution
  }

  private func waitForGather(_ block: UnitGroup) throws {
    guard block.isSharded else { return }
    try engine.instruments.wait(for: .gather, block.name) { try block.waitUntilGathered() }
    end("gather", block)
  }

  private func waitForReduction(_ block: UnitGroup) throws {
    guard block.isSharded else { return }
    try engine.instruments.wait(for: .reduce, block.name) { try block.finishReduction() }
    end("reduce", block)
  }

  private func begin(_ action: String, _ category: TraceCategory, _ block: UnitGroup) {
    guard let timeline = engine.instruments.timeline else { return }
    let name = "\(action) \(block.name)"
    spans[name] = timeline.begin(name, category, lane: action)
  }

  private func end(_ action: String, _ block: UnitGroup) {
    guard !spans.isEmpty, let span = spans.removeValue(forKey: "\(action) \(block.name)") else {
      return
    }
    engine.instruments.timeline?.end(span)
  }

  private func takeHidden(_ batch: Int) -> Tensor {
    guard let tensor = hidden[batch] else { preconditionFailure("micro-batch \(batch) is nowhere") }
    hidden[batch] = nil
    return tensor
  }

  // MARK: Layers

  private func forward(_ block: Int, _ stages: Range<Int>, _ batch: Int) throws {
    try waitForGather(groups[block])
    let execution = execution(block, batch)
    if stages.lowerBound == 0 { execution.enter(takeHidden(batch)) }
    try execution.forward(stages)
    if stages.upperBound == execution.block.stages.count {
      hidden[batch] = try execution.takeOutput()
      if let rowsE = execution.record[RoutingRecord.self]?.countsE {
        layerRows[batch].append(rowsE)
      }
      if purpose != .training { executions[batch][block - 1] = nil }
    }
  }

  private func backward(_ block: Int, _ stages: Range<Int>, _ batch: Int) throws {
    let group = groups[block]
    try waitForGather(group)
    try waitForReduction(group)
    let execution = execution(block, batch)
    if stages.upperBound == execution.block.stages.count {
      execution.enterBackward(takeHidden(batch))
    }
    try execution.backward(stages) { gradient, parameter in
      group.accumulate(gradient, for: parameter)
    }
    if stages.lowerBound == 0 {
      hidden[batch] = try execution.takeInputGradient()
      executions[batch][block - 1] = nil
    }
  }

  private func reduce(_ block: Int) throws {
    let isComplete = isLast && (block > 0 || isEmbeddingDone)
    try waitForReduction(groups[block])
    while reducing.count >= Self.reductionLimit {
      try waitForReduction(groups[reducing.removeFirst()])
    }
    begin("reduce", .reduce, groups[block])
    try groups[block].reduce(wire: engine.options.gradientWire, isLast: isComplete)
    reducing.append(block)
  }

  private func swapOut(_ execution: BlockExecution) throws {
    try execution.swapInputOut(engine.swap)
    swapping.append(execution)
    while swapping.count > Self.swapLimit { swapping.removeFirst().waitUntilInputIsOut() }
  }

  private func embedBackward(_ batch: Int) throws {
    let gradientTD = takeHidden(batch)
    try waitForReduction(groups[0])
    let weight = model.source.weight
    withoutGradients {
      engine.units.unit(of: weight).accumulator(of: weight)
        .addRows(gradientTD.contiguous(), at: tokens[batch])
    }
    isEmbeddingDone = true
  }

  // MARK: Head

  /// The loss; in training also the gradient of the last hidden states and the head's gradients.
  private func loss(_ batch: Int) throws {
    let head = model.head
    let projectionUnit = engine.units.unit(of: head.projection)
    try waitForGather(groups[groups.count - 1])
    if head.weight == nil { try waitForGather(groups[0]) }
    let targets = batches[batch].targets(divisor: divisor, on: engine.mesh.device)
    let leafTD = takeHidden(batch).leaf()
    guard purpose == .training else {
      let loss = engine.crossEntropy.loss(
        hiddenTD: head.norm(leafTD), headVD: head.projection.value,
        product: head.projection.product, quantizedVD: head.projection.quantized,
        targets: targets)
      check?.look([loss], block: groups.count - 1)
      readings.add(loss, to: \.loss)
      return
    }
    try waitForReduction(groups[groups.count - 1])
    if head.weight == nil { try waitForReduction(groups[0]) }
    let normalizedTD = withGradientRecording(true) { head.norm(leafTD) }
    let result = engine.crossEntropy.lossAndGradient(
      hiddenTD: normalizedTD.detached(), headVD: head.projection.value,
      product: head.projection.product, quantizedVD: head.projection.quantized, targets: targets,
      headGradient: projectionUnit.accumulator(of: head.projection))
    readings.add(result.loss, to: \.loss)
    readings.add(result.zLoss, to: \.zLoss)
    let normParameters = head.norm.parameters
    let norms = gradients(
      of: [normalizedTD], withRespectTo: [leafTD] + normParameters.map(\.value),
      outputGradients: [result.hiddenGradient])
    for (parameter, gradient) in zip(normParameters, norms.dropFirst()) {
      if let gradient { engine.units.head.accumulate(gradient, for: parameter) }
    }
    guard let gradientTD = norms[0] else { preconditionFailure("the norm has no input gradient") }
    hidden[batch] = gradientTD
  }

  // MARK: Expert counts

  /// The rows of all experts of all layers over this rank's micro-batches, `[L, E]` int64; nil without experts.
  var ownRows: Tensor? {
    guard let first = layerRows.first, !first.isEmpty else { return nil }
    return withoutGradients {
      layerRows.dropFirst().reduce(Tensor.stacked(first, dim: 0)) {
        $0 + Tensor.stacked($1, dim: 0)
      }
    }
  }

  /// Sums them over the ranks, unless those of the step are known.
  private func countRows() throws {
    guard counts == nil, let table = ownRows else { return }
    counts = (table, try engine.mesh.world.allReduce(table, label: "rows of experts"))
  }

  /// Waits for the counts and weighs the routers' losses with them.
  private func finishCounting() throws {
    guard let (table, work) = counts else { return }
    counts = nil
    if let work {
      try engine.instruments.wait(for: .reduce, "rows of experts") { try work.wait() }
      readings.add(expertCounts: table)
    }
    let layers = model.blocks.enumerated().compactMap { index, block in
      block.routedExperts.map { (index: index, experts: $0) }
    }
    let weights = engine.options.routerLoss
    let zFactor = RouterLoss.zFactor(weight: weights.z, stepTokenCount: stepTokenCount)
    for (place, layer) in layers.enumerated() {
      let factorsE = RouterLoss.balanceFactors(
        countsE: table.selected(dim: 0, index: place),
        expertsPerToken: layer.experts.perToken, weight: weights.balance,
        tokenCount: tokenCount, stepTokenCount: stepTokenCount)
      for blocks in executions {
        guard let execution = blocks[layer.index] else { continue }
        if weights.balance > 0, let sumsE = try execution.sum(.scoreSums) {
          readings.add((sumsE * factorsE).sum(), to: \.balanceLoss)
          execution.seeds[.scoreSums] = factorsE
        }
        if weights.z > 0, let sum = try execution.sum(.squaredLogSumExp) {
          readings.add(sum, to: \.routerZLoss, factor: zFactor)
          execution.seeds[.squaredLogSumExp] = Tensor.full(
            [], value: .real(zFactor), dtype: .float32, device: sum.device)
        }
      }
    }
  }
}
