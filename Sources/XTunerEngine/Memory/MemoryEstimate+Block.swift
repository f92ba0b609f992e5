import XTunerModels
import XTunerNN
import XTunerParallel

/// One block's pass over one micro-batch in bytes: what `BlockExecution` keeps, and how long.
///
/// The inputs of a recorded stage stay until its backward, its outputs do not; a value stays until its last
/// reader ran, or until the last stage that has to run again has read it.
final class ImaginedBlock {
  private let layer: ImaginedLayer
  private let stages: [Stage]
  private let plan: LayerPlan
  private let ledger: MemoryLedger
  private let firstReader: [StageValue: Int]
  private let lastReader: [StageValue: Int]
  private var values: [StageValue: ImaginedTensor] = [:]
  private var tapes: [Int: (inputs: [ImaginedTensor], outputs: [ImaginedNode?])] = [:]
  private var gradientOf: [StageValue: ImaginedMemory] = [:]
  private var record: ImaginedMemory?
  /// The orders of rows that an exchange of experts found out, two int64 numbers a row.
  private var route: ImaginedMemory?
  private var swappedByteCount: Int?

  init(_ layer: ImaginedLayer, stages: [Stage], plan: LayerPlan, ledger: MemoryLedger) {
    self.layer = layer
    self.stages = stages
    self.plan = plan
    self.ledger = ledger
    var (first, last): ([StageValue: Int], [StageValue: Int]) = ([:], [:])
    for (index, stage) in stages.enumerated() {
      for name in stage.inputs {
        first[name] = min(first[name] ?? index, index)
        last[name] = index
      }
    }
    (firstReader, lastReader) = (first, last)
  }

  /// Whether a range of stages goes to the last one.
  func endsWith(_ range: Range<Int>) -> Bool { range.upperBound == stages.count }

  // MARK: Forward

  func enter(_ input: ImaginedTensor) { values[.input] = input }

  func forward(_ range: Range<Int>) {
    for index in range {
      run(index, isRecorded: plan.recorded.contains(index))
      drop(after: index) { !isReadAgain($0) }
    }
  }

  func recompute(_ range: Range<Int>) {
    for index in range {
      if !plan.recorded.contains(index) { run(index, isRecorded: true) }
      drop(after: index) { _ in true }
    }
  }

  func takeOutput() -> ImaginedTensor? { values.removeValue(forKey: .output) }

  private func run(_ index: Int, isRecorded: Bool) {
    let stage = stages[index]
    var inputs = stage.inputs.compactMap { values[$0] }
    if isRecorded { inputs = inputs.map { ledger.leaf($0) } }
    ledger.isRecording = isRecorded
    let outputs = layer.run(stage.name, inputs, &record)
    ledger.isRecording = false
    if isRecorded { tapes[index] = (inputs, outputs.map(\.node)) }
    var plain = outputs.map(\.detached)
    if plan.travelling.contains(index) {
      if stage.travel == .toExperts && route == nil {
        route = ledger.take(layer.receivedRows * 16, \.activations)
      }
      plain = layer.exchange(stage.travel, plain, isBack: false)
    }
    for (name, tensor) in zip(stage.outputs, plain) { values[name] = tensor }
  }

  private func isReadAgain(_ name: StageValue) -> Bool {
    let again = stages.indices.filter { !plan.recorded.contains($0) }
    return !again.contains { stages[$0].outputs.contains(name) }
      && again.contains { stages[$0].inputs.contains(name) }
  }

  private func drop(after index: Int, where isDone: (StageValue) -> Bool) {
    for (name, last) in lastReader where last <= index && isDone(name) { values[name] = nil }
  }

  // MARK: Swap

  /// Gives the input away, to be freed when the copy is on the host.
  func swapOut() -> ImaginedMemory? {
    let input = values.removeValue(forKey: .input)
    swappedByteCount = input?.byteCount
    return input?.memory
  }

  func swapBack() {
    if let swappedByteCount { values[.input] = ledger.tensor(swappedByteCount) }
    swappedByteCount = nil
  }

  // MARK: Backward

  func enterBackward(_ gradient: ImaginedMemory) { gradientOf[.output] = gradient }

  func backward(_ range: Range<Int>, accumulate: ([MemoryLedger.ParameterGradient]) -> Void) {
    for index in range.reversed() {
      differentiate(index, accumulate)
      sendBack(firstReadBy: index)
    }
  }

  func takeInputGradient() -> ImaginedMemory? {
    let gradient = gradientOf[.input]
    gradientOf = [:]
    values = [:]
    return gradient
  }

  private func differentiate(
    _ index: Int, _ accumulate: ([MemoryLedger.ParameterGradient]) -> Void
  ) {
    let stage = stages[index]
    guard let tape = tapes.removeValue(forKey: index) else { return }
    let roots = zip(stage.outputs, tape.outputs).compactMap { name, node in
      gradientOf.removeValue(forKey: name).map { (node: node, gradient: $0) }
    }
    let results = ledger.differentiate(roots, leaves: tape.inputs)
    for case (let name, let result?) in zip(stage.inputs, results.leaves) {
      gradientOf[name] =
        gradientOf[name] == nil ? result : ledger.take(result.byteCount, \.gradients)
    }
    accumulate(results.parameters)
    withExtendedLifetime((tape, roots)) {}
  }

  private func sendBack(firstReadBy index: Int) {
    for stage in stages[..<index] where stage.travel != .none {
      guard let place = stages.firstIndex(where: { $0.name == stage.name }),
        plan.travelling.contains(place),
        stage.outputs.map({ firstReader[$0] ?? 0 }).min() == index
      else { continue }
      let gradients = stage.outputs.compactMap { gradientOf[$0] }
        .map { ImaginedTensor(memory: $0) }
      let arrived = layer.exchange(stage.travel, gradients, isBack: true)
      for (name, tensor) in zip(stage.outputs, arrived) { gradientOf[name] = tensor.memory }
    }
  }
}
