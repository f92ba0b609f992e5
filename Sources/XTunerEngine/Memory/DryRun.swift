package import Torch
import XTunerConfiguration
import XTunerModels
import XTunerNN
import XTunerParallel

/// Steps of training by the engine itself, on tensors that have no memory and among ranks that do not exist.
///
/// Every policy, layout and interleaving counts as it is, since it is the same program: model, schedule,
/// collectives and optimizer. Only kernels are other ones, which make shapes and take what the imagined device's
/// would take for a moment.
package struct DryRun {
  /// One action of the schedule, or another part of a step.
  package struct Moment: Sendable {
    /// Such as `loss #0`.
    package let name: String
    /// What tensors took.
    package let memory: MemoryLedger.Moment
    /// What was sent to other ranks, in order.
    package let messages: [Imagination.Message]
    /// What was computed, most bytes first; empty where nobody asked.
    package let operations: [OperationProfile.Operation]
  }

  /// Rounds that are gone through, of a step that has more: they take as much as the second one.
  private static let roundLimit = 3

  /// The first entry is the making of weights and moments.
  package let moments: [Moment]

  /// Two steps, and an evaluation after each where there is one.
  package init(_ setting: MemoryEstimate.Setting, recordsOperations: Bool = false) {
    let imagination = Imagination(kind: setting.deviceKind, expertLoad: setting.expertLoad)
    let account = StepAccount(imagination, recordsOperations: recordsOperations)
    account.ledger.use {
      do {
        try Self.run(setting, imagination, account)
      } catch {
        preconditionFailure("ranks that do not exist cannot fail: \(error)")
      }
    }
    moments = account.moments()
  }

  private static func run(
    _ setting: MemoryEstimate.Setting, _ imagination: Imagination, _ account: StepAccount
  ) throws {
    let mesh = ProcessMesh(imagining: setting.layout, imagination)
    let prepared = withMemory(for: .weights) {
      PreparedModel(
        setting.model, computeDType: setting.computeDType, isTrained: true,
        keepsMaster: setting.optimizer.state == .f32, float8: setting.float8Modules,
        float8Products: setting.float8Products, mesh: mesh,
        decays: { setting.optimizer.decays($0) })
    }
    let units = prepared.units
    let optimizer = withMemory(for: .moments) {
      setting.optimizer.makeOptimizer(
        units.all, swap: setting.swapsOptimizer ? HostSwap(device: mesh.device) : nil)
    }
    var options = setting.options
    options.forbidsWaits = false
    let engine = TrainingEngine(model: prepared.model, units: units, options: options)
    engine.account = account
    let batches = Array(
      repeating: microBatch(setting, tokenCount: setting.tokenCount),
      count: min(setting.microBatchCount, roundLimit * options.interleave))
    for _ in 0..<2 {
      _ = try engine.accumulateGradients(batches)
      try engine.accounted("gradient norm", for: .working) { _ = try GradientNorm(units) }
      try engine.accounted("update", for: .working) {
        try optimizer.step(learningRate: 1, gradientScale: 1)
      }
      guard setting.evaluatedTokenCount > 0 else { continue }
      try engine.accounted("quantize", for: .working) { try units.quantize() }
      _ = try engine.evaluate(microBatch(setting, tokenCount: setting.evaluatedTokenCount))
    }
    account.begin("between steps")
  }

  /// Samples of one length with any tokens.
  private static func microBatch(
    _ setting: MemoryEstimate.Setting, tokenCount: Int
  ) -> MicroBatch {
    var batch = MicroBatch()
    let length = max(min(setting.sampleLength, tokenCount), 1)
    batch.tokens = Array(repeating: 0, count: tokenCount)
    batch.bounds = Array(stride(from: 0, to: tokenCount, by: length)) + [tokenCount]
    batch.sources = Array(repeating: 0, count: batch.bounds.count - 1)
    let targetCount = max(min(setting.targetCount, tokenCount), 1)
    batch.targetPositions = (0..<targetCount).map(Int64.init)
    batch.targetTokens = Array(repeating: 0, count: targetCount)
    batch.targetWeights = Array(repeating: 1, count: targetCount)
    return batch
  }
}
