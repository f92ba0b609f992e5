/// What a run needs of an update rule.
///
/// Every rank takes part in a step; one that throws leaves weights that are of no use.
protocol Optimizer: AnyObject {
  /// Updates done; a skipped step is not one.
  var stepCount: Int { get set }

  /// Updates all weights with the gradients times `gradientScale`.
  func step(learningRate: Double, gradientScale: Double) throws

  /// What a checkpoint holds of the units: weights, and moments where asked for.
  func checkpointParts(includesMoments: Bool) -> [UnitFiles.Part]
}

extension AdamW: Optimizer {}
