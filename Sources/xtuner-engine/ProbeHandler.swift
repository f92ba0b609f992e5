import Torch
import XTunerCheckpoint
import XTunerCommands
import XTunerEngine
import XTunerModels
import XTunerParallel
import XTunerTokenizers
import XTunerTrainer

/// `xtuner probe`.
enum ProbeHandler {
  static func run(_ command: ProbeCommand) throws {
    if let threads = command.threads.count { Torch.setThreadCount(threads) }
    let folder = try ModelLocation.ofProcess.path(of: command.model)
    try OutputName.checkFile("--out", command.out, inputs: [command.tokens, folder])
    let input = try ProbeInput(path: command.tokens)
    let prepared = try PreparedModel(
      path: folder, computeDType: DType(command.dtype), isTrained: command.grads)
    for note in prepared.model.configuration.notes { Output.note(note) }
    try input.check(vocabularySize: prepared.model.configuration.vocabularySize)
    var tensors = [(name: "logits", tensor: logits(input, prepared.model))]
    var loss: Double?
    if input.labels != nil || command.grads {
      let batch = try input.microBatch()
      let engine = TrainingEngine(model: prepared.model, units: prepared.units)
      if command.grads {
        loss = try engine.accumulateGradients([batch]).loss
      } else {
        let sums = try engine.evaluate(batch)
        loss = sums.lossSum / sums.weightSum
      }
    }
    if let loss { tensors.append(("loss", Tensor([Float(loss)], shape: []))) }
    if command.grads { tensors += try gradients(prepared) }
    try Output.write(tensors, to: command.out)
    report(input, loss: loss, command)
  }

  /// `[B, S, V]` float32.
  private static func logits(_ input: ProbeInput, _ model: LanguageModel) -> Tensor {
    withoutGradients {
      let contexts = model.makeContexts(ModelInput(bounds: input.bounds))
      let hiddenTD = model.hiddenStates(Tensor(input.tokens, device: model.device), contexts)
      let logitsTV = model.head(hiddenTD).to(.float32)
      return logitsTV.reshaped([input.rowCount, input.length, logitsTV.size(1)])
    }
  }

  /// Every gradient under its Hugging Face name, float32.
  private static func gradients(
    _ prepared: PreparedModel
  ) throws -> [(name: String, tensor: Tensor)] {
    let tensors = HFWeights.tensors(of: prepared.model, units: prepared.units, dtype: .float32) {
      $0.finishedGradient()
    }
    return try tensors.map { ($0.name, try $0.make()) }
  }

  private static func report(_ input: ProbeInput, loss: Double?, _ command: ProbeCommand) {
    if command.json {
      Output.write([
        "file": .string(command.out), "rows": .integer(input.rowCount),
        "length": .integer(input.length), "loss": .number(loss, digits: 9),
      ])
    } else {
      let text = loss.map { ", loss \($0)" } ?? ""
      Output.write("\(command.out): \(input.rowCount) rows of \(input.length) tokens\(text)")
    }
  }
}
