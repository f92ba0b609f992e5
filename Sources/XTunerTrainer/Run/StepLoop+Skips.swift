import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerRun
import XTunerSystem

extension StepLoop {
  /// Whether the update is left out; throws after too many in a row.
  func skips(
    _ batches: [MicroBatch], _ gradientNorm: GradientNorm, loss: Double
  ) throws -> Bool {
    let norm = gradientNorm.value
    let threshold = setup.place.configuration.training.skipThreshold ?? .infinity
    guard !norm.isFinite || norm > threshold else {
      consecutiveSkips = 0
      return false
    }
    skippedCount += 1
    consecutiveSkips += 1
    var cause = "gradient norm \(norm) is above training.skip_threshold \(threshold)"
    var fault = "-"
    if !norm.isFinite {
      // The weights are still those of the step, so its forward pass can be looked at again.
      let place = try setup.learner.engine.firstNonFiniteStage(batches)
      fault = place ?? gradientNorm.nonFiniteUnit ?? "a block"
      cause =
        place.map { "the forward pass is not finite from \($0) on (loss \(loss))" }
        ?? "the gradient is not finite from \(fault) back, and the forward pass is (loss \(loss))"
    }
    setup.records.progress.note("step \(step): update skipped: \(cause)")
    setup.records.keep {
      try setup.place.log.write(
        .warning, "update skipped",
        [
          "step": String(step), "unit": fault, "gradient_norm": "\(norm)",
          "in_a_row": String(consecutiveSkips),
        ])
    }
    if consecutiveSkips >= Self.maximumConsecutiveSkips {
      // A checkpoint under way has the count up to it, which a restart goes on with.
      try setup.writer.wait()
      throw TrainingError(
        .nonFinite,
        """
        step \(step): \(consecutiveSkips) updates in a row were skipped, the last because \(cause); \
        lower optimizer.learning_rate or resume from an earlier checkpoint
        """)
    }
    return true
  }

  /// A step none of whose packs has a token with a loss: it is counted and told, and changes nothing.
  ///
  /// It is a step of the run like others, so that the data and the schedule go on in step.
  func passOver(
    _ packs: [Pack], dataSeconds: Double, start: ContinuousClock.Instant
  ) throws -> StepMetrics {
    step += 1
    unlabelledCount += 1
    setup.records.progress.note(
      """
      step \(step): passed over: none of its \(packs.count) packs has a token with a loss \
      (\(unlabelledCount) such steps so far); see `xtuner data inspect`
      """)
    setup.records.keep {
      try setup.place.log.write(
        .warning, "step without labels passed over",
        ["step": String(step), "packs": String(packs.count), "so_far": String(unlabelledCount)])
    }
    var measured = StepMeasurement()
    measured.loss = .nan
    measured.tokenCount = packs.reduce(0) { $0 + $1.tokens.count }
    let seconds = (ContinuousClock.now - start).seconds
    var report = try setup.meter.metrics(
      step: step, measured, nil, norm: .nan, rate: learningRate, seconds: seconds,
      dataSeconds: dataSeconds, isSkipped: true)
    // Nothing was computed.
    report.tokensPerSecond = 0
    report.modelFlopsUtilization = nil
    report.measuredImbalance = nil
    return report
  }
}
