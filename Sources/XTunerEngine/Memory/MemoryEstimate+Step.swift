import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

// Shape legend for this file:
//   T tokens of this rank   D hidden   V vocabulary   N targets   C positions of a chunk   e bytes

/// Optimizer steps in bytes: what `TrainingEngine`, `TrainingRound` and `FlatUnit` hold.
final class ImaginedStep {
  let ledger = MemoryLedger()
  private let setting: MemoryEstimate.Setting
  private let model: LanguageModel
  private let plans: [LayerPlan]
  private let layers: [ImaginedLayer]
  /// The embedding, each layer, the head.
  private let blocks: [[ImaginedUnit.Kind: ImaginedUnit]]
  /// Free buffers by their bytes; buffers are kept for good.
  private var free: [Int: [ImaginedMemory]] = [:]

  private var hidden: [ImaginedMemory?] = []
  private var executions: [[ImaginedBlock?]] = []
  private var reducing: [Int] = []
  private var swapping: [ImaginedMemory] = []

  init(_ setting: MemoryEstimate.Setting) {
    self.setting = setting
    let (ledger, layout, options) = (ledger, setting.layout, setting.options)
    let model = setting.model.makeModel()
    model.useFloat8(in: setting.float8Modules)
    self.model = model
    plans = model.blocks.enumerated().map { index, block in
      TrainingEngine.plan(index, block, options) { layout.isActive($0) }
    }
    layers = zip(model.blocks, setting.model.layers).compactMap { layer, shape in
      ImaginedLayer(layer.name, shape, setting, ledger)
    }
    let parameters =
      [model.source.parameters] + model.blocks.map(\.parameters) + [model.head.parameters]
    blocks = parameters.map { parameters in
      var units: [ImaginedUnit.Kind: ImaginedUnit] = [:]
      for kind in ImaginedUnit.Kind.allCases {
        units[kind] = ImaginedUnit(kind, parameters, setting, ledger)
      }
      return units
    }
  }

  private var e: Int { setting.computeDType.size }
  private var T: Int {
    (setting.tokenCount + setting.layout.sequence - 1) / setting.layout.sequence
  }
  private var N: Int { min(setting.targetCount, T) }
  private var D: Int { setting.model.hiddenSize }
  private var V: Int { setting.model.vocabularySize }

  /// One optimizer step.
  func run() {
    for unit in blocks.flatMap(\.values) {
      unit.named = []
      unit.soleGradients = [:]
      unit.hasGradientShard = false
    }
    let interleave = setting.options.interleave
    let roundCount = max((setting.microBatchCount + interleave - 1) / interleave, 1)
    for round in 0..<roundCount {
      let schedule = Schedule(
        layers: plans,
        options: setting.options.schedule(
          isSharded: blocks.contains { $0.values.contains { $0.isSharded } },
          isReduced: setting.layout.worldSize > 1, tiesHead: model.head.weight == nil,
          isFirstRound: round == 0, isLastRound: round == roundCount - 1))
      begin(interleave)
      for action in schedule.actions {
        ledger.moment = schedule.line(action)
        perform(action)
      }
      ledger.moment = "end of round"
      while !reducing.isEmpty { finishReduction(reducing.removeFirst()) }
      (hidden, executions) = ([], [])
    }
    update()
  }

  private func begin(_ interleave: Int) {
    hidden = Array(repeating: nil, count: interleave)
    executions = (0..<interleave).map { _ in
      zip(layers, zip(model.blocks, plans)).map { layer, own in
        ImaginedBlock(layer, stages: own.0.stages, plan: own.1, ledger: ledger)
      }
    }
  }

  private func perform(_ action: ScheduleAction) {
    switch action {
    case .gather(let block): gather(block)
    case .release(let block): release(block)
    case .reduce(let block): reduce(block)
    case .embed(let batch):
      waitForGather(0)
      hidden[batch] = ledger.take(T * D * e, \.activations)
    case .forward(let block, let stages, let batch): forward(block, stages, batch)
    case .swapOut(let block, let batch):
      if let memory = executions[batch][block - 1]?.swapOut() { swapping.append(memory) }
      while swapping.count > TrainingRound.swapLimit { swapping.removeFirst() }
    case .swapIn(let block, let batch): executions[batch][block - 1]?.swapBack()
    case .countRows: swapping = []
    case .loss(let batch):
      swapping = []
      loss(batch)
    case .recompute(let block, let stages, let batch):
      waitForGather(block)
      executions[batch][block - 1]?.recompute(stages)
    case .backward(let block, let stages, let batch): backward(block, stages, batch)
    case .embedBackward(let batch):
      hidden[batch] = nil
      finishReductionIfUnderWay(0)
      accumulate(("embedding", V * D, 4), in: 0, .dense)
    }
  }

  // MARK: Layers

  private func forward(_ block: Int, _ stages: Range<Int>, _ batch: Int) {
    guard let execution = executions[batch][block - 1] else { return }
    waitForGather(block)
    if stages.lowerBound == 0, let input = hidden[batch] {
      hidden[batch] = nil
      execution.enter(ImaginedTensor(memory: input))
    }
    execution.forward(stages)
    if execution.endsWith(stages) { hidden[batch] = execution.takeOutput()?.memory }
  }

  private func backward(_ block: Int, _ stages: Range<Int>, _ batch: Int) {
    guard let execution = executions[batch][block - 1] else { return }
    waitForGather(block)
    finishReductionIfUnderWay(block)
    if execution.endsWith(stages), let gradient = hidden[batch] {
      hidden[batch] = nil
      execution.enterBackward(gradient)
    }
    execution.backward(stages) { gradients in
      for (parameter, memory) in gradients {
        accumulate(
          (parameter.name, parameter.elementCount, parameter.elementSize), memory, in: block,
          parameter.unit)
      }
    }
    if stages.lowerBound == 0 {
      hidden[batch] = execution.takeInputGradient()
      executions[batch][block - 1] = nil
    }
  }

  // MARK: Units

  private func takeBuffer(_ byteCount: Int) -> ImaginedMemory {
    free[byteCount]?.popLast() ?? ledger.take(byteCount, \.buffers)
  }

  private func giveBack(_ buffer: ImaginedMemory) {
    free[buffer.byteCount, default: []].append(buffer)
  }

  private func gather(_ block: Int) {
    for unit in blocks[block].values where unit.isSharded && unit.gathered == nil {
      let byteCount = unit.elementCount * unit.travelSize
      unit.gathered = takeBuffer(byteCount)
      // Gloo gathers into memory of its own and copies; counted until the block is used.
      unit.gathering = ledger.take(byteCount, \.collectives)
    }
  }

  private func waitForGather(_ block: Int) {
    for unit in blocks[block].values { unit.gathering = nil }
  }

  private func release(_ block: Int) {
    for unit in blocks[block].values {
      if let buffer = unit.gathered { giveBack(buffer) }
      (unit.gathered, unit.gathering) = (nil, nil)
    }
  }

  /// `memory` has the gradient, unless it is added up in place.
  private func accumulate(
    _ gradient: (name: String, count: Int, size: Int), _ memory: ImaginedMemory? = nil,
    in block: Int, _ kind: ImaginedUnit.Kind
  ) {
    guard let unit = blocks[block][kind] else { return }
    let isFirst = unit.named.insert(gradient.name).inserted
    if isFirst, unit.isAlone, unit.gradientShard == nil, gradient.size != 4, let memory {
      unit.soleGradients[gradient.name] = memory
      return
    }
    if unit.isSharded {
      if unit.gradientBuffer == nil { unit.gradientBuffer = takeBuffer(unit.elementCount * 4) }
    } else {
      makeShard(unit)
    }
    unit.soleGradients[gradient.name] = nil
    // To add bfloat16 to float32, libtorch widens it first, so many elements at a time.
    let widened = isFirst || gradient.size == 4 ? 0 : min(gradient.count, FlatUnit.widenedCount)
    _ = ledger.take(widened * 4, \.parameterGradients)
  }

  private func makeShard(_ unit: ImaginedUnit) {
    guard unit.gradientShard == nil else { return }
    unit.gradientShard = ledger.take(unit.shardCount * 4, \.gradientShards)
  }

  private func reduce(_ block: Int) {
    finishReductionIfUnderWay(block)
    while reducing.count >= TrainingRound.reductionLimit {
      finishReduction(reducing.removeFirst())
    }
    for unit in blocks[block].values {
      guard unit.isSharded else {
        makeShard(unit)
        continue
      }
      if unit.gradientBuffer == nil { unit.gradientBuffer = takeBuffer(unit.elementCount * 4) }
      var memory: [ImaginedMemory] = []
      if unit.hasGradientShard {
        memory.append(ledger.take(unit.shardCount * 4, \.collectives))
      } else {
        makeShard(unit)
      }
      // float32: the parts of all ranks before they are summed; bfloat16: what goes and what comes.
      memory.append(ledger.take(unit.elementCount * 4, \.collectives))
      unit.reduction = memory
      unit.named = []
    }
    reducing.append(block)
  }

  private func finishReductionIfUnderWay(_ block: Int) {
    guard let place = reducing.firstIndex(of: block) else { return }
    finishReduction(reducing.remove(at: place))
  }

  private func finishReduction(_ block: Int) {
    for unit in blocks[block].values where unit.reduction != nil {
      if setting.options.gradientWire == .bfloat16 {
        // The parts in float32, and their sum.
        _ = ledger.take((unit.elementCount + unit.shardCount) * 4, \.collectives)
      }
      unit.reduction = nil
      unit.hasGradientShard = true
      if let buffer = unit.gradientBuffer { giveBack(buffer) }
      unit.gradientBuffer = nil
    }
  }

  // MARK: Head and optimizer

  private func loss(_ batch: Int) {
    let input = hidden[batch]
    hidden[batch] = nil
    let head = blocks.count - 1
    let projection = model.head.weight == nil ? 0 : head
    for block in [head, projection] { waitForGather(block) }
    finishReductionIfUnderWay(head)
    finishReductionIfUnderWay(projection)
    let normalized = ledger.take(T * D * e + T * 4, \.activations)
    let kind = ImaginedUnit.kind(of: model.head.projection, computeDType: setting.computeDType)
    accumulate(("projection", V * D, 4), in: projection, kind)
    // Quantised once for all chunks, where it was not gathered so.
    let isFloat8 = model.head.projection.product != .compute
    let isGathered = kind.isFloat8 && blocks[projection][kind]?.isSharded == true
    let quantized = ledger.take(isFloat8 && !isGathered ? V * D : 0, \.head)
    let gradient = ledger.take(T * D * e, \.gradients)
    if isFloat8 {
      float8Chunk(min(setting.options.chunkSize, N))
    } else {
      chunk(min(setting.options.chunkSize, N))
    }
    // The norm's gradient, with a float32 row for each 64 rows.
    let partial = ledger.take((T + 63) / 64 * D * 4, \.working)
    let result = ledger.take(T * D * e, \.gradients)
    accumulate(("norm", D, e), ledger.take(D * e, \.parameterGradients), in: head, .dense)
    withExtendedLifetime((input, normalized, gradient, partial, quantized)) {
      hidden[batch] = result
    }
  }

  /// Logits, which become their gradient in place.
  private func chunk(_ C: Int) {
    let hidden = ledger.take(C * D * e, \.head)
    let logits = ledger.take(C * V * e, \.head)
    _ = ledger.take(C * D * e, \.head)
    withExtendedLifetime((hidden, logits)) {}
  }

  /// The same with operands that are quantised.
  private func float8Chunk(_ C: Int) {
    let hidden = ledger.take(C * D * e, \.head)
    let products = ImaginedProducts(
      .init(
        R: C, N: V, K: D, E: 1, isGrouped: false, isQuantized: true, hasRows: false, gradientSize: 4
      ),
      setting.float8Products)
    _ = ledger.take(products.forward, \.working)
    let logits = ledger.take(C * V * e, \.head)
    _ = ledger.take(products.inputGradient, \.working)
    _ = ledger.take(C * D * e, \.head)
    _ = ledger.take(products.weightGradient, \.working)
    withExtendedLifetime((hidden, logits)) {}
  }

  /// Where moments rest on the host, those of two units are here: one is used and the next one comes,
  /// when the last one is out.
  private func update() {
    ledger.moment = "update"
    let units = blocks.flatMap { block in ImaginedUnit.Kind.allCases.compactMap { block[$0] } }
    for unit in units where unit.soleGradients.isEmpty { makeShard(unit) }
    guard setting.swapsOptimizer else { return }
    var present: [ImaginedMemory] = []
    for unit in units {
      if present.count == 2 { present.removeFirst() }
      present.append(ledger.take(2 * unit.momentSize * unit.shardCount, \.moments))
    }
  }
}
