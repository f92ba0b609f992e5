import Torch
package import XTunerConfiguration
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerParallel

extension DType {
  package init(_ type: ModelOptions.ComputeType) {
    switch type {
    case .f32: self = .float32
    case .bf16: self = .bfloat16
    }
  }
}

extension TrainingEngine.Options {
  /// What `configuration` asks of the engine for a model of `layerCount` layers.
  package init(_ configuration: RunConfiguration, layerCount: Int) {
    self.init()
    chunkSize = configuration.loss.chunkSize
    zLoss = configuration.loss.zLoss
    routerLoss = RouterLossWeights(
      balance: configuration.loss.balanceLoss, z: configuration.loss.routerZLoss)
    countsRowsOfStep = configuration.loss.balanceScope == .step
    switch configuration.training.recompute {
    case .none: recomputedLayerCount = 0
    case .full: recomputedLayerCount = layerCount
    case .selective:
      recomputedLayerCount = layerCount
      keptStages = Set(configuration.training.keptStages.map { StageName($0.rawValue) })
    case .ratio(let share): recomputedLayerCount = Int((share * Double(layerCount)).rounded(.up))
    }
    swapsActivations = configuration.training.swapsActivations
    let parallel = configuration.parallel
    interleave = parallel.interleave
    prefetch = parallel.prefetch
    switch parallel.reshard {
    case .afterForward: reshard = .afterForward
    case .never: reshard = .never
    }
    switch parallel.gradientWire {
    case .f32: gradientWire = .float32
    case .bf16: gradientWire = .bfloat16
    }
  }
}
