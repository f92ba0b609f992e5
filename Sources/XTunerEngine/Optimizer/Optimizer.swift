package import XTunerCheckpoint
import XTunerConfiguration
package import XTunerNN
package import XTunerParallel

/// What a run needs of an update rule.
///
/// Every rank takes part in a step; one that throws leaves weights that are of no use.
package protocol Optimizer: AnyObject {
  /// Updates done; a skipped step is not one.
  var stepCount: Int { get set }

  /// Updates all weights with the gradients times `gradientScale`.
  func step(learningRate: Double, gradientScale: Double) throws

  /// What a checkpoint holds of the units: weights, and moments where asked for.
  func checkpointParts(includesMoments: Bool) -> [UnitFiles.Part]
}

extension AdamW: Optimizer {}

extension OptimizerOptions {
  /// The update rule with moments of zeros for `units`.
  package func makeOptimizer(_ units: [FlatUnit], swap: HostSwap?) -> any Optimizer {
    switch name {
    case .adamw: AdamW(units, options: AdamW.Options(self), swap: swap)
    case .muon: Muon(units, options: Muon.Options(self), swap: swap)
    }
  }
}

extension OptimizerOptions {
  /// Whether weight decay applies to a parameter.
  package func decays(_ parameter: Parameter) -> Bool {
    switch parameter.kind {
    case .matrix: true
    case .embedding: decaysEmbeddings
    case .norm, .bias: decaysNorms
    }
  }
}
