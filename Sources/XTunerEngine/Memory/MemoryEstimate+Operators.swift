// The operators of a layer as what they take and keep, in bytes.
//
// Each has the memory behaviour of the operator of its name: Sources/CTorch/operators/*/operators.cpp
// says what our own save, libtorch's derivatives.yaml what its own do. A gradient is as large as what
// it belongs to.
//
// Shape legend: T tokens   D hidden   H, G query and key-value heads   d head size   R rows of experts

/// Bytes that are alive in an imagined step, by part, and the most that ever were.
final class MemoryLedger {
  private(set) var live = MemoryParts()
  private(set) var peak = MemoryParts()
  private(set) var peakMoment = ""
  /// What is being done, for ``peakMoment``.
  var moment = ""
  /// Whether operators record what their gradients need.
  var isRecording = false
  private var nodeCount = 0

  func take(_ byteCount: Int, _ part: WritableKeyPath<MemoryParts, Int>) -> ImaginedMemory {
    ImaginedMemory(byteCount, part, self)
  }

  fileprivate func change(_ part: WritableKeyPath<MemoryParts, Int>, by byteCount: Int) {
    live[keyPath: part] += byteCount
    guard live.total > peak.total else { return }
    peak = live
    peakMoment = moment
  }

  fileprivate func nextNumber() -> Int {
    nodeCount += 1
    return nodeCount
  }
}

/// Memory that is alive as long as anything refers to it, as a tensor's is.
final class ImaginedMemory {
  let byteCount: Int
  private let part: WritableKeyPath<MemoryParts, Int>
  private let ledger: MemoryLedger

  fileprivate init(
    _ byteCount: Int, _ part: WritableKeyPath<MemoryParts, Int>, _ ledger: MemoryLedger
  ) {
    self.byteCount = byteCount
    self.part = part
    self.ledger = ledger
    ledger.change(part, by: byteCount)
  }

  deinit { ledger.change(part, by: -byteCount) }
}

/// An operation that was recorded: what it saved, and what its gradient takes.
final class ImaginedNode {
  /// Nodes are differentiated from the last made to the first, as libtorch's engine does.
  let number: Int
  fileprivate var saved: [ImaginedMemory]
  fileprivate let inputs: [ImaginedNode?]
  fileprivate let gradients: (ImaginedMemory) -> [ImaginedMemory?]
  fileprivate let parameters: [ImaginedParameter]

  fileprivate init(
    _ number: Int, saved: [ImaginedMemory] = [], inputs: [ImaginedNode?] = [],
    parameters: [ImaginedParameter] = [],
    gradients: @escaping (ImaginedMemory) -> [ImaginedMemory?] = { _ in [] }
  ) {
    self.number = number
    self.saved = saved
    self.inputs = inputs
    self.parameters = parameters
    self.gradients = gradients
  }
}

/// A parameter that an operator reads.
struct ImaginedParameter {
  var name: String
  var unit: ImaginedUnit.Kind
  var elementCount: Int
  var elementSize: Int
}

/// A tensor: memory, and where in a graph it comes from.
struct ImaginedTensor {
  let memory: ImaginedMemory
  var node: ImaginedNode?
  var byteCount: Int { memory.byteCount }

  /// The same memory outside any graph.
  var detached: ImaginedTensor { ImaginedTensor(memory: memory) }
}

extension MemoryLedger {
  typealias ParameterGradient = (parameter: ImaginedParameter, memory: ImaginedMemory)

  /// A start of a graph.
  func leaf(_ tensor: ImaginedTensor) -> ImaginedTensor {
    ImaginedTensor(memory: tensor.memory, node: ImaginedNode(nextNumber()))
  }

  func tensor(_ byteCount: Int) -> ImaginedTensor {
    ImaginedTensor(memory: take(byteCount, \.activations))
  }

  /// Gradients of roots, for leaves and for all parameters on the way; saved memory is given up node
  /// by node.
  func differentiate(
    _ roots: [(node: ImaginedNode?, gradient: ImaginedMemory)], leaves: [ImaginedTensor]
  ) -> (leaves: [ImaginedMemory?], parameters: [ParameterGradient]) {
    var waiting: [Int: (node: ImaginedNode, gradient: ImaginedMemory)] = [:]
    func add(_ gradient: ImaginedMemory, to node: ImaginedNode) {
      guard var (_, sum) = waiting.removeValue(forKey: node.number) else {
        waiting[node.number] = (node, gradient)
        return
      }
      // The engine adds in place where nobody else has the sum so far.
      if !isKnownUniquelyReferenced(&sum) { sum = take(gradient.byteCount, \.gradients) }
      waiting[node.number] = (node, sum)
    }
    for root in roots {
      if let node = root.node { add(root.gradient, to: node) }
    }
    let ends = Set(leaves.compactMap { $0.node?.number })
    var parameters: [ParameterGradient] = []
    while let number = waiting.keys.filter({ !ends.contains($0) }).max(),
      let (node, gradient) = waiting.removeValue(forKey: number)
    {
      let results = node.gradients(gradient)
      for parameter in node.parameters {
        parameters.append(
          (
            parameter,
            take(parameter.elementCount * parameter.elementSize, \.parameterGradients)
          ))
      }
      node.saved = []
      for case (let input?, let result?) in zip(node.inputs, results) { add(result, to: input) }
    }
    return (leaves.map { $0.node.flatMap { waiting[$0.number]?.gradient } }, parameters)
  }

  /// `scratch` is there while the inputs' gradients are made, `lateScratch` while parameters' are.
  func made(
    _ byteCount: Int, from inputs: [ImaginedTensor], saving saved: [ImaginedMemory] = [],
    savingResult: Bool = false, parameters: [ImaginedParameter] = [], scratch: Int = 0,
    lateScratch: Int = 0
  ) -> ImaginedTensor {
    var result = tensor(byteCount)
    guard isRecording else { return result }
    let sizes = inputs.map(\.byteCount)
    result.node = ImaginedNode(
      nextNumber(), saved: savingResult ? saved + [result.memory] : saved,
      inputs: inputs.map(\.node), parameters: parameters
    ) { [unowned self] _ in
      var temporary: ImaginedMemory? = take(scratch, \.working)
      // The operands of one product are given up before those of the next one are made.
      if lateScratch > 0 { temporary = nil }
      let results = sizes.map { Optional(take($0, \.gradients)) }
      if lateScratch > 0 { _ = take(lateScratch, \.working) }
      return withExtendedLifetime(temporary) { results }
    }
    return result
  }

  // MARK: Operators

  /// Saves x and a float32 scale a row; the weight's gradient is summed in a float32 row for each 64.
  func norm(_ x: ImaginedTensor, width: Int, elementSize: Int) -> ImaginedTensor {
    let rows = width == 0 ? 0 : x.byteCount / elementSize / width
    let scale = take(rows * 4, \.activations)
    return made(
      x.byteCount, from: [x], saving: [x.memory, scale], scratch: (rows + 63) / 64 * width * 4)
  }

  /// Saves x (the weight has its memory anyway).
  func linear(
    _ x: ImaginedTensor, byteCount: Int, _ parameter: ImaginedParameter
  ) -> ImaginedTensor {
    made(byteCount, from: [x], saving: [x.memory], parameters: [parameter])
  }

  /// Saves only the context's cosines and sines.
  func rotary(_ x: ImaginedTensor) -> ImaginedTensor { made(x.byteCount, from: [x]) }

  /// Saves queries, keys, values, the result and a float32 log-sum-exp a head and token.
  ///
  /// A sample that libtorch's kernel takes has its results there first, then they are copied.
  func attention(
    _ inputs: [ImaginedTensor], byteCount: Int, scores: Int, sampleShare: Double
  ) -> ImaginedTensor {
    let logSumExp = take(scores * 4, \.activations)
    let gradientCount = inputs.reduce(0) { $0 + $1.byteCount }
    let result = made(
      byteCount, from: inputs, saving: inputs.map(\.memory) + [logSumExp], savingResult: true,
      scratch: Int(Double(gradientCount) * sampleShare))
    _ = take(Int(Double(byteCount + scores * 4) * sampleShare), \.working)
    return result
  }

  /// Saves nothing; both gradients are the sum's, not copied.
  func sum(_ a: ImaginedTensor, _ b: ImaginedTensor) -> ImaginedTensor {
    var result = tensor(a.byteCount)
    guard isRecording else { return result }
    result.node = ImaginedNode(nextNumber(), inputs: [a.node, b.node]) { [$0, $0] }
    return result
  }

  /// Saves gate and up; the result is half of them.
  func swiGLU(_ gateUp: ImaginedTensor) -> ImaginedTensor {
    made(gateUp.byteCount / 2, from: [gateUp], saving: [gateUp.memory])
  }

  /// Saves nothing of a row's width.
  func permute(_ x: ImaginedTensor, byteCount: Int) -> ImaginedTensor { made(byteCount, from: [x]) }

  /// Saves rows and mixing weights.
  func unpermute(
    _ rows: ImaginedTensor, _ weights: ImaginedTensor, byteCount: Int
  ) -> ImaginedTensor {
    made(byteCount, from: [rows, weights], saving: [rows.memory, weights.memory])
  }

  /// Saves nothing; the gradient is rounded back.
  func cast(_ x: ImaginedTensor, byteCount: Int) -> ImaginedTensor { made(byteCount, from: [x]) }

  /// Saves its result.
  func softmax(_ x: ImaginedTensor) -> ImaginedTensor {
    made(x.byteCount, from: [x], savingResult: true)
  }

  /// Saves what is given.
  func reduction(
    _ x: ImaginedTensor, byteCount: Int, saving saved: [ImaginedMemory] = [],
    savingResult: Bool = false
  ) -> ImaginedTensor {
    made(byteCount, from: [x], saving: saved, savingResult: savingResult)
  }
}
