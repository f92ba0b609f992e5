import Foundation
import Torch
import XTunerCheckpoint
import XTunerData
import XTunerModels
import XTunerParallel

extension TrainingRun {
  func stepMetrics(
    _ measured: StepMeasurement, _ prediction: StepPrediction, norm: Double, rate: Double,
    seconds: Double, dataSeconds: Double, isSkipped: Bool
  ) throws -> StepMetrics {
    let computing =
      measured.forwardSeconds + measured.backwardSeconds - measured.communicationSeconds
    let ranks = try ranks.mesh.world.gatherValues(
      [
        computing, measured.communicationSeconds, Double(Throughput.peakMemoryBytes() ?? 0),
        Double(DeviceMemory.peakByteCount(on: device)),
        Double(DeviceMemory.liveByteCount(on: device)),
      ], label: "rank metrics")
    func mean(_ index: Int) -> Double {
      ranks.reduce(0) { $0 + $1[index] } / Double(ranks.count)
    }
    func largest(_ index: Int) -> Double { ranks.map { $0[index] }.max() ?? 0 }
    let isAlone = ranks.count == 1
    let tokens = Double(measured.tokenCount)
    let operations =
      tokens
      * prepared.model.configuration.trainingOperationsPerToken(
        effectiveLength: measured.squaredLengthSum / max(tokens, 1))
    let hasExperts = !measured.expertCounts.isEmpty
    return StepMetrics(
      step: step, loss: measured.loss, gradientNorm: norm, learningRate: rate,
      tokens: measured.tokenCount, lossTokens: measured.lossTokenCount,
      tokensPerSecond: tokens / seconds, stepSeconds: seconds,
      modelFlopsUtilization: operations / seconds / peakRate,
      memoryPeakBytes: Int(largest(2)), tensorPeakBytes: Int(largest(3)),
      tensorLiveBytes: Int(largest(4)),
      dataSeconds: dataSeconds,
      communicationSeconds: isAlone ? nil : mean(1),
      predictedImbalance: isAlone ? nil : prediction.spread,
      measuredImbalance: isAlone ? nil : largest(0) / max(mean(0), 1e-9),
      maxViolation: measured.maximumViolation,
      balanceLoss: hasExperts ? measured.balanceLoss : nil,
      routerZLoss: configuration.loss.routerZLoss > 0 ? measured.routerZLoss : nil,
      zLoss: configuration.loss.zLoss > 0 ? measured.zLoss : nil, isSkipped: isSkipped)
  }

  func record(_ report: StepMetrics) throws {
    try metrics?.write(report)
    if report.step % configuration.logging.everySteps == 0 || report.step == stepCount {
      try tensorBoard?.write(report)
    }
    progress.report(report)
  }

  func saveCheckpoint() throws {
    // The previous one must be whole first: at most one is being written, and its error is not lost.
    try writer.wait()
    try ranks.agree("write the metrics") { try metrics?.synchronize() }
    let includesMoments = configuration.checkpoint.savesOptimizer
    let (files, pieces) = UnitFiles.contents(
      optimizer.checkpointParts(includesMoments: includesMoments), mesh: ranks.mesh)
    var contents = try RunCheckpointContents(
      step: step, files: files, pieces: pieces,
      state: TrainingState(
        step: step, updateCount: optimizer.stepCount, skippedCount: skippedCount,
        loader: loader.state, hasMoments: includesMoments),
      configurationHash: configuration.hash,
      libraryVersions: ["libtorch": Torch.version, "xtuner": XTunerVersion.current])
    contents.modelFiles = modelFiles
    try writer.submit(contents)
    if !configuration.checkpoint.inBackground { try writer.wait() }
    lastCheckpointStep = step
    try log.write(
      .info, "checkpoint submitted", ["step": String(step), "path": store.path(step: step)])
  }

  func writeChart() throws {
    guard let directory else { return }
    let history = try MetricsHistory(path: layout.metrics)
    guard !history.training.isEmpty else { return }
    let chart = LossChart(title: configuration.run.name, history: history)
    try directory.write(chart.svg(), to: layout.lossChart)
  }

  func exportModel(to path: String) throws {
    try ranks.agree("export the model") {
      try HFWeights.export(
        prepared.model, units: prepared.units, to: path, dtype: DType(configuration.model.dtype),
        overwrites: true, files: modelFiles.besideConfiguration)
    }
  }
}

/// The version of the program.
public enum XTunerVersion {
  /// As in CHANGELOG.md.
  public static let current = "0.1.0"
}
