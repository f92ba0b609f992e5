import XTunerCheckpoint
import XTunerConfiguration
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel

/// A run's model with what trains it.
struct Learner {
  let prepared: PreparedModel
  let engine: TrainingEngine
  let optimizer: any Optimizer

  /// Memory for a model and its moments; the weights are still zeros.
  init(_ place: RunPlace, _ model: ModelConfiguration) {
    let (configuration, memory) = (place.configuration, place.memory)
    let options = configuration.optimizer
    let prepared = memory.measure("weights") {
      PreparedModel(
        model, computeDType: .init(configuration.model.dtype), isTrained: true,
        keepsMaster: options.state == .f32, float8: configuration.float8Modules,
        float8Products: configuration.float8Products, mesh: place.ranks.mesh,
        decays: { options.decays($0) })
    }
    self.prepared = prepared
    let (units, buffers) = (prepared.units.all, prepared.units.pool.counter)
    let swap = configuration.training.swapsOptimizer ? HostSwap(device: place.device) : nil
    optimizer = memory.measure("optimizer moments") { options.makeOptimizer(units, swap: swap) }
    memory.add("buffers of gathered units and gradients") { buffers.byteCount }
    engine = TrainingEngine(
      model: prepared.model, units: prepared.units,
      options: TrainingEngine.Options(configuration, layerCount: prepared.model.blocks.count))
    for counter in [engine.swap.hostCounter, swap?.hostCounter].compactMap(\.self) {
      memory.add("host memory of swaps", onHost: true) { counter.byteCount }
    }
  }

  /// Reads weights, and moments where there are any, out of a run's checkpoint.
  func restore(_ checkpoint: RunCheckpoint, _ state: TrainingState) throws {
    try UnitFiles.load(
      checkpoint, into: optimizer.checkpointParts(includesMoments: state.hasMoments))
    prepared.units.publish()
    optimizer.stepCount = state.hasMoments ? state.updateCount : 0
  }

  /// Loads or draws the weights that a new run begins with.
  func begin(_ configuration: RunConfiguration) throws {
    guard configuration.model.weights == .load else {
      return prepared.initialize(seed: UInt64(configuration.run.seed))
    }
    guard let path = configuration.model.path else {
      throw configuration.error(at: "model.weights", "load needs model.path")
    }
    try prepared.load(path: path)
  }
}
