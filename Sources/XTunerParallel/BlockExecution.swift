public import Torch
public import XTunerNN

/// What of a block's forward pass is kept for its backward pass.
public enum KeepPolicy: Sendable, Hashable {
  /// Everything that backward needs.
  case everything
  /// The block's input; backward runs the forward pass again, with the stored expert choice.
  case input
}

/// One block's forward and backward pass over one micro-batch, stage by stage.
///
/// Each stage is differentiated on its own: its inputs are new starts of a graph, so what passes
/// between stages is an ordinary tensor that a schedule can exchange, drop or swap.
public final class BlockExecution {
  private struct Tape {
    let stage: Stage
    let inputs: [Tensor]
    let outputs: [Tensor]
  }

  /// The block.
  public let block: any Block
  /// The expert choice and the like, kept until backward has run.
  public let record = BlockRecord()
  /// The auxiliary loss of the forward pass, a float32 scalar; nil for a block without one.
  public private(set) var auxiliaryLoss: Tensor?

  private let context: ForwardContext
  private let policy: KeepPolicy
  private var input: Tensor?
  private var tapes: [Tape] = []

  /// A pass that has not run yet.
  public init(_ block: any Block, context: ForwardContext, policy: KeepPolicy) {
    self.block = block
    self.context = context
    self.policy = policy
  }

  /// Runs the stages and keeps what the policy says.
  ///
  /// Returns `[T, D]`, outside any graph.
  public func forward(_ input: Tensor) -> Tensor {
    precondition(self.input == nil, "\(block.name): forward ran twice")
    self.input = input
    return run(input, isRecording: policy == .everything)
  }

  /// The gradient of the input, `[T, D]`; `accumulate` is called with each parameter's gradient.
  public func backward(
    _ outputGradient: Tensor, accumulate: (_ gradient: Tensor, _ parameter: Parameter) -> Void
  ) -> Tensor {
    guard let input else { preconditionFailure("\(block.name): backward before forward") }
    if policy == .input { _ = run(input, isRecording: true) }
    self.input = nil
    var gradientOf: [StageValue: Tensor] = [.output: outputGradient]
    let parameters = block.parameters
    let leaves = parameters.map(\.value)
    while let tape = tapes.popLast() {
      let seeds = zip(tape.stage.outputs, tape.outputs).compactMap {
        name, tensor -> (tensor: Tensor, gradient: Tensor?)? in
        guard tensor.requiresGradient else { return nil }
        if name == .auxiliaryLoss { return (tensor, nil) }
        return gradientOf[name].map { (tensor, $0) }
      }
      let inputGradients = gradients(
        of: seeds.map(\.tensor), withRespectTo: tape.inputs + leaves,
        outputGradients: seeds.map(\.gradient))
      for (name, gradient) in zip(tape.stage.inputs, inputGradients) {
        guard let gradient else { continue }
        gradientOf[name] = gradientOf[name].map { $0 + gradient } ?? gradient
      }
      for (parameter, gradient) in zip(parameters, inputGradients.dropFirst(tape.inputs.count)) {
        if let gradient { accumulate(gradient, parameter) }
      }
    }
    return gradientOf.at(.input)
  }

  private func run(_ input: Tensor, isRecording: Bool) -> Tensor {
    var values: [StageValue: Tensor] = [.input: input]
    withGradientRecording(isRecording) {
      for stage in block.stages {
        let inputs = stage.inputs.map { name in
          isRecording ? values.at(name).leaf() : values.at(name)
        }
        let outputs = stage.run(inputs, context, record)
        if isRecording { tapes.append(Tape(stage: stage, inputs: inputs, outputs: outputs)) }
        for (name, tensor) in zip(stage.outputs, outputs) { values[name] = tensor.detached() }
      }
    }
    auxiliaryLoss = values[.auxiliaryLoss]
    return values.at(.output)
  }
}
