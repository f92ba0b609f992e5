import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun
import XTunerTokenizers

extension TrainingRun {
  func stepMetrics(
    _ measured: StepMeasurement, _ prediction: StepPrediction?, norm: Double, rate: Double,
    seconds: Double, dataSeconds: Double, isSkipped: Bool
  ) throws -> StepMetrics {
    let computing =
      measured.forwardSeconds + measured.backwardSeconds - measured.communicationSeconds
    let ranks = try ranks.mesh.world.gatherValues(
      [
        seconds, computing, measured.communicationSeconds,
        Double(Throughput.peakMemoryBytes() ?? 0),
        Double(max(DeviceMemory.peakByteCount(on: device), earlierTensorPeak)),
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
      * prepared.model.facts.trainingOperationsPerToken(
        effectiveLength: measured.squaredLengthSum / max(tokens, 1))
    let hasExperts = !measured.expertCounts.isEmpty
    // With the seconds of rank 0, so that all ranks measure again or none does.
    let utilization = try peakRate.utilization(
      operationCount: operations, seconds: ranks[0][0]
    ) {
      earlierTensorPeak = max(earlierTensorPeak, DeviceMemory.peakByteCount(on: device))
      defer { DeviceMemory.resetPeak(on: device) }
      return try self.ranks.sum(
        Throughput.peak(dtype: DType(configuration.model.dtype), device: device))
    }
    return StepMetrics(
      step: step, loss: measured.loss, gradientNorm: norm, learningRate: rate,
      tokens: measured.tokenCount, lossTokens: measured.lossTokenCount,
      tokensPerSecond: tokens / seconds, stepSeconds: seconds,
      modelFlopsUtilization: utilization,
      memoryPeakBytes: Int(largest(3)), tensorPeakBytes: Int(largest(4)),
      tensorLiveBytes: Int(largest(5)),
      dataSeconds: dataSeconds,
      communicationSeconds: isAlone ? nil : mean(2),
      predictedImbalance: isAlone ? nil : prediction?.spread,
      measuredImbalance: isAlone ? nil : largest(1) / max(mean(1), 1e-9),
      maxViolation: measured.maximumViolation,
      balanceLoss: hasExperts ? measured.balanceLoss : nil,
      routerZLoss: configuration.loss.routerZLoss > 0 ? measured.routerZLoss : nil,
      zLoss: configuration.loss.zLoss > 0 ? measured.zLoss : nil, isSkipped: isSkipped)
  }

  func record(_ report: StepMetrics) {
    keep { try metrics?.write(report) }
    if report.step % configuration.logging.everySteps == 0 || report.step == stepCount {
      keep { try tensorBoard?.write(report) }
    }
    progress.report(report)
    if ranks.isMain {
      let loss = report.loss.isFinite ? report.loss : .nan
      history.training.append(.init(step: report.step, loss: loss))
    }
    // Never more than a tenth behind, and some hundred charts in a run of a million steps.
    if 10 * (step - chartedStep) > chartedStep { keep { try writeChart() } }
  }

  /// Writes something that only this rank writes; the ranks agree on what became of it when they meet
  /// the next time, after the step at the latest.
  func keep(_ body: () throws -> Void) {
    do {
      try body()
    } catch {
      unwritten = unwritten ?? error
    }
  }

  func saveCheckpoint() throws {
    // The previous one must be whole first: at most one is being written, and its error is not lost.
    try writer.wait()
    try ranks.agree("write the metrics") {
      try directory?.checkIsInPlace()
      if let unwritten { throw unwritten }
      try metrics?.synchronize()
    }
    let includesMoments = configuration.checkpoint.savesOptimizer
    let (files, pieces) = UnitFiles.contents(
      optimizer.checkpointParts(includesMoments: includesMoments), mesh: ranks.mesh)
    var contents = try RunCheckpointContents(
      step: step, files: files, pieces: pieces,
      state: TrainingState(
        step: step, updateCount: optimizer.stepCount, skippedCount: skippedCount,
        consecutiveSkipCount: consecutiveSkips, unlabelledCount: unlabelledCount,
        optimizer: configuration.optimizer.name.rawValue, loader: loader.state,
        hasMoments: includesMoments, currentDate: data.template?.currentDate),
      configurationHash: configuration.hash,
      libraryVersions: ["libtorch": Torch.version, "xtuner": XTunerVersion.current])
    contents.modelFiles = modelFiles
    // What has been skipped may go on being skipped: healthy ones must not make room for these.
    try writer.submit(contents, displacesOlder: consecutiveSkips == 0)
    if !configuration.checkpoint.inBackground { try writer.wait() }
    lastCheckpointStep = step
    keep {
      try log.write(
        .info, "checkpoint submitted", ["step": String(step), "path": store.path(step: step)])
      try writeChart()
    }
  }

  func writeChart() throws {
    guard let directory, !history.training.isEmpty else { return }
    try directory.checkIsInPlace()
    let chart = LossChart(title: configuration.run.name, history: history)
    try directory.write(chart.svg(), to: layout.lossChart)
    chartedStep = step
  }

  func exportModel(to path: String) throws {
    try ranks.agree("look for the run directory") { try directory?.checkIsInPlace() }
    try ranks.agree("export the model") {
      try HFWeights.export(
        prepared.model, units: prepared.units, to: path, dtype: DType(configuration.model.dtype),
        overwrites: true, files: modelFiles.besideConfiguration)
    }
  }
}
