public import Torch
import XTunerMoE
public import XTunerNN

/// One block's forward and backward pass over one micro-batch, stage by stage.
///
/// Each stage is differentiated on its own: its inputs are new starts of a graph, so what passes
/// between stages is an ordinary tensor that a schedule can exchange, drop or swap. A stage that is
/// not recorded runs again before backward, with the stored expert choice.
public final class BlockExecution {
  private struct Tape {
    let inputs: [Tensor]
    /// The ends of the stage's graph, without memory.
    let outputs: [Tensor?]
  }

  private enum Value {
    case here(Tensor)
    case travelling(PendingTensors, index: Int)
    case swapped(SwappedTensor)
  }

  /// The block.
  public let block: any Block
  /// The expert choice and the like, kept until backward has run.
  public let record = BlockRecord()
  /// Gradients of outputs that no later stage reads, such as the router's sums.
  public var seeds: [StageValue: Tensor] = [:]
  /// Called with what each stage has made, before it travels; nil where nobody looks.
  public var inspect: ((_ stage: Int, _ outputs: [Tensor]) -> Void)?

  private let context: ForwardContext
  private let exchanges: StageExchanges
  private let plan: LayerPlan
  private let isTraining: Bool
  private let lastReader: [StageValue: Int]
  private let firstReader: [StageValue: Int]
  private var journey: StageExchanges.Journey
  private var values: [StageValue: Value] = [:]
  private var tapes: [Int: Tape] = [:]
  private var gradientOf: [StageValue: Value] = [:]
  private var arrivedShapes: [StageValue: ([Int], DType, Device)] = [:]

  /// A pass that has not run yet.
  ///
  /// - Parameters:
  ///   - block: The block.
  ///   - plan: Which stages record what their backward needs when they first run.
  ///   - context: The micro-batch's.
  ///   - exchanges: Where values travel.
  ///   - tokenCount: Tokens of the whole pack.
  ///   - isTraining: Whether backward follows.
  public init(
    _ block: any Block, plan: LayerPlan, context: ForwardContext,
    exchanges: StageExchanges = StageExchanges(), tokenCount: Int, isTraining: Bool = true
  ) {
    self.block = block
    self.plan = plan
    self.context = context
    self.exchanges = exchanges
    self.isTraining = isTraining
    self.journey = StageExchanges.Journey(
      label: block.name, record: record, tokenCount: tokenCount)
    var (first, last): ([StageValue: Int], [StageValue: Int]) = ([:], [:])
    for (index, stage) in block.stages.enumerated() {
      for name in stage.inputs {
        first[name] = min(first[name] ?? index, index)
        last[name] = max(last[name] ?? index, index)
      }
    }
    firstReader = first
    lastReader = last
  }

  /// Gives the hidden states that enter the block, `[T, D]`.
  public func enter(_ input: Tensor) { values[.input] = .here(input) }

  // MARK: Forward

  /// Runs stages for the first time.
  public func forward(_ stages: Range<Int>) throws {
    for index in stages {
      try run(index, isRecorded: isTraining && plan.recorded.contains(index))
      drop(after: index) { !isTraining || !isReadAgain($0) }
    }
  }

  /// Runs the stages that were not recorded again, recording them.
  public func recompute(_ stages: Range<Int>) throws {
    for index in stages {
      if !plan.recorded.contains(index) { try run(index, isRecorded: true) }
      drop(after: index) { _ in true }
    }
  }

  /// The hidden states that leave the block, `[T, D]`, outside any graph; they are given away.
  public func takeOutput() throws -> Tensor {
    let output = try value(.output)
    values[.output] = nil
    return output
  }

  /// A small value that a stage made and that stays until the end, such as the router's sums.
  public func sum(_ name: StageValue) throws -> Tensor? {
    values[name] == nil ? nil : try value(name)
  }

  private func run(_ index: Int, isRecorded: Bool) throws {
    let stage = block.stages[index]
    let inputs = try stage.inputs.map { name in
      let tensor = try value(name)
      return isRecorded ? tensor.leaf() : tensor
    }
    // Where rows come from other ranks, how many there are is known when they are there.
    if stage.travel == .fromExperts {
      record[LocalExpertRows.self] = journey.route?.offsetsIfKnown.map {
        LocalExpertRows(offsetsE: $0)
      }
    }
    let outputs = withGradientRecording(isRecorded) { stage.run(inputs, context, record) }
    // What travels is not kept where it came from, unless its own gradient needs it.
    if isRecorded { tapes[index] = Tape(inputs: inputs, outputs: outputs.map { $0?.graphEnd() }) }
    let plain = outputs.map { $0?.detached() }
    inspect?(index, plain.compactMap(\.self))
    if exchanges.isActive(stage.travel) {
      let pending = exchanges.depart(stage.travel, plain.compactMap { $0 }, &journey)
      for (place, name) in stage.outputs.enumerated() {
        values[name] = .travelling(pending, index: place)
      }
    } else {
      for (name, tensor) in zip(stage.outputs, plain) { values[name] = tensor.map(Value.here) }
    }
  }

  private func value(_ name: StageValue) throws -> Tensor {
    switch values[name] {
    case .here(let tensor): return tensor
    case .travelling(let pending, let index):
      let tensor = try arrived(pending)[index]
      arrivedShapes[name] = (tensor.shape, tensor.dtype, tensor.device)
      values[name] = .here(tensor)
      return tensor
    case .swapped(let swapped):
      let tensor = exchanges.instruments.wait(for: .swap, "\(block.name) input") { swapped.wait() }
      values[name] = .here(tensor)
      return tensor
    case nil: preconditionFailure("\(block.name): no stage made '\(name)'")
    }
  }

  private func arrived(_ pending: PendingTensors) throws -> [Tensor] {
    try exchanges.instruments.wait(for: .exchange, pending.label) { try pending.wait() }
  }

  /// Whether a value must wait for the stages that run again.
  private func isReadAgain(_ name: StageValue) -> Bool {
    let isMadeAgain = block.stages.indices.contains { index in
      !plan.recorded.contains(index) && block.stages[index].outputs.contains(name)
    }
    return !isMadeAgain
      && block.stages.indices.contains { index in
        !plan.recorded.contains(index) && block.stages[index].inputs.contains(name)
      }
  }

  private func drop(after index: Int, where isDone: (StageValue) -> Bool) {
    for (name, last) in lastReader where last <= index && isDone(name) { values[name] = nil }
  }

  // MARK: Swap

  /// Starts to move the block's input to host memory.
  public func swapInputOut(_ swap: HostSwap) throws {
    guard values[.input] != nil else { return }
    values[.input] = .swapped(swap.out(try value(.input)))
  }

  /// Waits until the input's memory is free.
  public func waitUntilInputIsOut() {
    if case .swapped(let swapped) = values[.input] { swapped.waitUntilOut() }
  }

  /// Starts to bring it back.
  public func swapInputBack(_ swap: HostSwap) {
    if case .swapped(let swapped) = values[.input] { swap.back(swapped) }
  }

  // MARK: Backward

  /// Gives the gradient of the hidden states that left the block.
  public func enterBackward(_ gradient: Tensor) { gradientOf[.output] = .here(gradient) }

  /// The gradients of stages, last first; `accumulate` is called with each parameter's.
  ///
  /// What a stage's inputs travelled to get there, their gradients travel back, from the moment that
  /// the last of their readers is done.
  public func backward(
    _ stages: Range<Int>, accumulate: (_ gradient: Tensor, _ parameter: Parameter) -> Void
  ) throws {
    let parameters = block.parameters
    for index in stages.reversed() {
      try differentiate(index, parameters, accumulate)
      sendBack(firstReadBy: index)
    }
  }

  /// The gradient of the block's input, `[T, D]`; given away.
  public func takeInputGradient() throws -> Tensor {
    guard let gradient = try gradient(.input) else {
      preconditionFailure("\(block.name): its input has no gradient")
    }
    gradientOf = [:]
    values = [:]
    return gradient
  }

  private func differentiate(
    _ index: Int, _ parameters: [Parameter],
    _ accumulate: (_ gradient: Tensor, _ parameter: Parameter) -> Void
  ) throws {
    let stage = block.stages[index]
    guard let tape = tapes.removeValue(forKey: index) else {
      preconditionFailure("\(block.name): backward of \(stage.name) before forward")
    }
    var roots: [Tensor] = []
    var rootGradients: [Tensor?] = []
    for case (let name, let tensor?) in zip(stage.outputs, tape.outputs)
    where tensor.requiresGradient {
      guard let gradient = try seeds[name] ?? gradient(name) else { continue }
      roots.append(tensor)
      rootGradients.append(gradient)
    }
    for name in stage.outputs { gradientOf[name] = nil }
    guard !roots.isEmpty else { return }
    let results = gradients(
      of: roots, withRespectTo: tape.inputs + parameters.map(\.value),
      outputGradients: rootGradients)
    for (name, result) in zip(stage.inputs, results) {
      guard let result else { continue }
      if case .here(let sum) = gradientOf[name] {
        gradientOf[name] = .here(sum + result)
      } else {
        gradientOf[name] = .here(result)
      }
    }
    for (parameter, result) in zip(parameters, results.dropFirst(tape.inputs.count)) {
      if let result { accumulate(result, parameter) }
    }
  }

  private func gradient(_ name: StageValue) throws -> Tensor? {
    switch gradientOf[name] {
    case .here(let tensor): return tensor
    case .travelling(let pending, let index): return try arrived(pending)[index]
    case .swapped, nil: return nil
    }
  }

  private func sendBack(firstReadBy index: Int) {
    for stage in block.stages[..<index] where exchanges.isActive(stage.travel) {
      guard stage.outputs.map({ firstReader[$0] ?? 0 }).min() == index else { continue }
      let arrived = stage.outputs.map { name -> Tensor in
        if case .here(let gradient) = gradientOf[name] { return gradient.contiguous() }
        // Every rank takes part, also one whose rows influence nothing.
        let (shape, dtype, device) = arrivedShapes[name] ?? ([0], .float32, .cpu)
        return Tensor.zeros(shape, dtype: dtype, device: device)
      }
      let pending = exchanges.goBack(stage.travel, arrived, journey)
      for (place, name) in stage.outputs.enumerated() {
        gradientOf[name] = .travelling(pending, index: place)
      }
    }
  }
}
