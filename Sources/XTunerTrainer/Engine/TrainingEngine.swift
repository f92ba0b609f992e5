import Torch
package import XTunerModels
package import XTunerNN
import XTunerParallel

/// What one optimizer step's forward and backward passes measured.
package struct StepMeasurement {
  /// The loss: weighted mean of the negative log-likelihoods, without auxiliary losses.
  package var loss = 0.0
  /// The head's z-loss.
  package var zLoss = 0.0
  /// The routers' balance losses, summed over layers and micro-batches.
  package var balanceLoss = 0.0
  /// The routers' z-losses, summed over layers and micro-batches.
  package var routerZLoss = 0.0
  /// Tokens.
  package var tokenCount = 0
  /// Tokens with a loss.
  package var lossTokenCount = 0
  /// Rows of each expert, one list a mixture-of-experts layer.
  package var expertCounts: [[Int64]] = []
  /// The sum over samples of the squared length: what attention costs.
  package var squaredLengthSum = 0.0
  /// Seconds from the first layer to the loss; the head's gradient is made with the loss, and in it.
  package var forwardSeconds = 0.0
  /// Seconds from the loss to the last gradient.
  package var backwardSeconds = 0.0

  /// `(max - mean) / mean` of the experts' rows, averaged over layers; nil without experts.
  package var maximumViolation: Double? {
    let violations = expertCounts.compactMap { counts -> Double? in
      let mean = Double(counts.reduce(0, +)) / Double(max(counts.count, 1))
      guard mean > 0, let largest = counts.max() else { return nil }
      return (Double(largest) - mean) / mean
    }
    return violations.isEmpty ? nil : violations.reduce(0, +) / Double(violations.count)
  }
}

/// Runs forward and backward passes of one model: it owns the schedule over blocks and stages.
///
/// Confined to the thread that created it, since libtorch keeps the grad mode per thread.
package final class TrainingEngine {
  package struct Options: Sendable {
    package var chunkSize = 1024
    package var zLoss = 0.0
    package var routerLoss = RouterLossWeights.none
    /// Layers from the first whose forward pass is run again in backward.
    package var recomputedLayerCount = 0

    package init() {}
  }

  package let model: CausalLanguageModel
  package let units: ModelUnits
  package let options: Options
  private let crossEntropy: LinearCrossEntropy

  package init(model: CausalLanguageModel, units: ModelUnits, options: Options = Options()) {
    self.model = model
    self.units = units
    self.options = options
    self.crossEntropy = LinearCrossEntropy(chunkSize: options.chunkSize, zLoss: options.zLoss)
  }

  /// Forgets the gradients, then adds up those of all micro-batches of one optimizer step.
  ///
  /// The divisor of the loss is the sum of all targets' weights, so that loss and gradients do not
  /// depend on how the step is cut into micro-batches.
  package func accumulateGradients(_ microBatches: [MicroBatch]) -> StepMeasurement {
    for unit in units.all { unit.clearGradients() }
    var measurement = StepMeasurement()
    let divisor = microBatches.reduce(0) { $0 + $1.weightSum }
    precondition(divisor > 0, "a step needs at least one token with a loss")
    let tokenCount = microBatches.reduce(0) { $0 + $1.tokens.count }
    for batch in microBatches {
      accumulateGradients(batch, divisor: divisor, stepTokenCount: tokenCount, &measurement)
    }
    return measurement
  }

  /// The weighted sum of the negative log-likelihoods of `batch`, and the sum of the weights.
  package func evaluate(_ batch: MicroBatch) -> (lossSum: Double, weightSum: Double) {
    withoutGradients {
      let context = model.makeContext(bounds: batch.bounds)
      let hiddenTD = model.head.norm(model.hiddenStates(batch.tokensT, context))
      let loss = crossEntropy.loss(
        hiddenTD: hiddenTD, headVD: model.head.projection.value, targets: batch.targets(divisor: 1))
      return (loss.item(), batch.weightSum)
    }
  }

  private func accumulateGradients(
    _ batch: MicroBatch, divisor: Double, stepTokenCount: Int, _ measurement: inout StepMeasurement
  ) {
    let clock = ContinuousClock()
    let start = clock.now
    let context = model.makeContext(
      bounds: batch.bounds, routerLoss: options.routerLoss, stepTokenCount: stepTokenCount)
    let tokensT = batch.tokensT
    var hiddenTD = withoutGradients { model.embedding(tokensT) }
    var executions = model.layers.enumerated().map { index, layer in
      BlockExecution(
        layer, context: context, policy: index < options.recomputedLayerCount ? .input : .everything
      )
    }
    for execution in executions { hiddenTD = execution.forward(hiddenTD) }

    var gradientTD = headLossAndGradient(hiddenTD, batch.targets(divisor: divisor), &measurement)
    for execution in executions {
      if let losses = execution.record.routerLosses {
        measurement.balanceLoss += losses.balance.item()
        measurement.routerZLoss += losses.z.item()
      }
    }
    countExperts(executions, &measurement)
    let turn = clock.now
    measurement.forwardSeconds += (turn - start).seconds

    for (index, unit) in units.layers.enumerated().reversed() {
      gradientTD = executions[index].backward(gradientTD) { gradient, parameter in
        unit.accumulate(gradient, for: parameter)
      }
      executions.removeLast()
    }
    withoutGradients {
      units.embedding.accumulator(of: model.embedding.weight)
        .addRows(gradientTD.contiguous(), at: tokensT)
    }
    measurement.backwardSeconds += (clock.now - turn).seconds
    measurement.tokenCount += batch.tokens.count
    measurement.lossTokenCount += batch.targetTokens.count
    for (start, end) in zip(batch.bounds, batch.bounds.dropFirst()) {
      measurement.squaredLengthSum += Double((end - start) * (end - start))
    }
  }

  /// The loss, and the gradient of the last hidden states; the head's gradients are added up.
  private func headLossAndGradient(
    _ hiddenTD: Tensor, _ targets: LinearCrossEntropy.Targets, _ measurement: inout StepMeasurement
  ) -> Tensor {
    let head = model.head
    let leafTD = hiddenTD.leaf()
    let normalizedTD = withGradientRecording(true) { head.norm(leafTD) }
    let projectionUnit = head.weight == nil ? units.embedding : units.head
    let result = crossEntropy.lossAndGradient(
      hiddenTD: normalizedTD.detached(), headVD: head.projection.value, targets: targets,
      headGradient: projectionUnit.accumulator(of: head.projection))
    measurement.loss += result.loss.item()
    measurement.zLoss += result.zLoss.item()
    let normParameters = head.norm.parameters
    let norms = gradients(
      of: [normalizedTD], withRespectTo: [leafTD] + normParameters.map(\.value),
      outputGradients: [result.hiddenGradient])
    for (parameter, gradient) in zip(normParameters, norms.dropFirst()) {
      if let gradient { units.head.accumulate(gradient, for: parameter) }
    }
    guard let gradientTD = norms[0] else { preconditionFailure("the norm has no input gradient") }
    return gradientTD
  }

  private func countExperts(_ executions: [BlockExecution], _ measurement: inout StepMeasurement) {
    let counts = executions.compactMap { $0.record.routing?.countsE.integers() }
    guard !counts.isEmpty else { return }
    if measurement.expertCounts.isEmpty {
      measurement.expertCounts = counts
    } else {
      for (layer, layerCounts) in counts.enumerated() {
        for (expert, count) in layerCounts.enumerated() {
          measurement.expertCounts[layer][expert] += count
        }
      }
    }
  }
}
