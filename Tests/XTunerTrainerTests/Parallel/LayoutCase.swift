import Testing
import Torch
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// One way to run the same global batches: ranks, degrees, micro-batches and memory policy.
struct LayoutCase: Sendable, Hashable, CustomTestStringConvertible {
  enum Recompute: String, Sendable, Hashable {
    case none, selective, half, full
  }

  var model: String
  var ranks = 1
  var replicate = 1
  var expert = 1
  var expertTensor = 1
  var sequence = 1
  /// Micro-batches of each rank that reads data.
  var microBatches = 1
  /// Those of them that are interleaved inside blocks (Domino).
  var interleave = 1
  var recompute = Recompute.none
  /// Inputs of recomputed layers and the optimizer's moments rest in host memory.
  var swaps = false
  var reshard = Schedule.Reshard.afterForward
  var prefetch = 1
  /// Balance loss and z-loss of the routers; the balance loss counts the rows of a round.
  var hasRouterLoss = false
  /// It counts those of the step.
  var countsStep = false

  var layout: ParallelLayout {
    ParallelLayout(
      worldSize: ranks, replicate: replicate, expert: expert, expertTensor: expertTensor,
      sequence: sequence)
  }

  var testDescription: String {
    var parts = ["\(model)", "\(ranks) ranks"]
    let degrees = [
      ("replicate", replicate), ("expert", expert), ("expert_tensor", expertTensor),
      ("sequence", sequence),
    ]
    parts += degrees.filter { $0.1 > 1 }.map { "\($0.0) \($0.1)" }
    parts.append("\(microBatches) micro-batches")
    if interleave > 1 { parts.append("interleave \(interleave)") }
    if recompute != .none { parts.append("recompute \(recompute.rawValue)") }
    if swaps { parts.append("swap") }
    if reshard == .never { parts.append("reshard never") }
    if prefetch != 1 { parts.append("prefetch \(prefetch)") }
    if hasRouterLoss { parts.append("router losses\(countsStep ? " of the step" : "")") }
    return parts.joined(separator: ", ")
  }

  func options(layerCount: Int) -> TrainingEngine.Options {
    var options = TrainingEngine.Options()
    options.chunkSize = 37
    options.interleave = interleave
    options.reshard = reshard
    options.prefetch = prefetch
    options.swapsActivations = swaps
    switch recompute {
    case .none: break
    case .selective:
      options.recomputedLayerCount = layerCount
      options.keptStages = [.attend, .dispatch]
    case .half: options.recomputedLayerCount = (layerCount + 1) / 2
    case .full: options.recomputedLayerCount = layerCount
    }
    if hasRouterLoss { options.routerLoss = .init(balance: 0.02, z: 0.003) }
    options.countsRowsOfStep = countsStep
    return options
  }
}

/// The loss, gradient norm and balance loss of each step.
struct Curve: Sendable, Equatable {
  var losses: [Double] = []
  var norms: [Double] = []
  var balanceLosses: [Double] = []
}

/// A run of tiny steps on the same global batches whatever the layout.
enum InvarianceRun {
  static let stepCount = 20
  /// Samples of a step; odd lengths, one of a single token.
  static let sampleLengths = [23, 7, 31, 1, 13, 29, 5, 17]

  /// This rank's curve; every rank has the same.
  static func curve(
    _ testCase: LayoutCase, mesh: ProcessMesh, stepCount: Int = stepCount,
    dtype: DType = .float32, wire: GradientWire = .float32, forbidsWaits: Bool = false
  ) throws -> Curve {
    let reference = ReferenceModel(name: testCase.model)
    let prepared = try PreparedModel(
      path: reference.folder, computeDType: dtype, isTrained: true, mesh: mesh)
    var options = testCase.options(layerCount: prepared.model.blocks.count)
    options.gradientWire = wire
    options.forbidsWaits = forbidsWaits
    let engine = TrainingEngine(
      model: prepared.model, units: prepared.units, options: options)
    let optimizer = AdamW(
      prepared.units.all, options: AdamW.Options(),
      swap: testCase.swaps ? HostSwap(device: mesh.device) : nil)
    var curve = Curve()
    for step in 0..<stepCount {
      let measured = try engine.accumulateGradients(
        batches(step: step, testCase, mesh: mesh))
      let norm = try GradientNorm(prepared.units)
      #expect(norm.nonFiniteUnit == nil)
      // AdamW's first steps are the signs of gradients, also of those that are only rounding: at a
      // constant 1e-3 norms differ by 2.5e-5 after 20 steps, where losses still agree to 1e-6.
      let rate = 3e-4 * min(1, Double(step + 1) / 10)
      optimizer.step(learningRate: rate, gradientScale: min(1, 1 / (norm.value + 1e-6)))
      curve.losses.append(measured.loss)
      curve.norms.append(norm.value)
      curve.balanceLosses.append(measured.balanceLoss)
    }
    return curve
  }

  /// The samples of a step, dealt out to micro-batches and ranks.
  private static func batches(
    step: Int, _ testCase: LayoutCase, mesh: ProcessMesh
  ) -> [MicroBatch] {
    let generator = Generator(seed: UInt64(step) + 100)
    let readers = mesh.dataRankCount
    let count = readers * testCase.microBatches
    var batches = Array(repeating: MicroBatch(), count: count)
    for (index, length) in sampleLengths.enumerated() {
      let tokens = Tensor.randomIntegers(
        from: 3, to: 153, shape: [length], generator: generator, dtype: .int64
      ).integers().map { Int32($0) }
      // Every third token of every second sample has no loss.
      let labels = tokens.enumerated().map { place, token in
        index.isMultiple(of: 2) && place.isMultiple(of: 3) ? -100 : token
      }
      batches[index % count].append(tokens: tokens, labels: labels, reduction: .token)
    }
    return (0..<testCase.microBatches).map { batches[mesh.dataRank + readers * $0] }
  }
}
