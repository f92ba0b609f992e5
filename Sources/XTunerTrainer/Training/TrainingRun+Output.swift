import Foundation
import Torch
import XTunerCheckpoint
import XTunerData
import XTunerModels
import XTunerParallel
public import XTunerTokenizers

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
      if let unwritten { throw unwritten }
      try metrics?.synchronize()
    }
    let includesMoments = configuration.checkpoint.savesOptimizer
    let (files, pieces) = UnitFiles.contents(
      optimizer.checkpointParts(includesMoments: includesMoments), mesh: ranks.mesh)
    let contents = try RunCheckpointContents(
      step: step, files: files, pieces: pieces,
      state: TrainingState(
        step: step, updateCount: optimizer.stepCount, skippedCount: skippedCount,
        loader: loader.state, hasMoments: includesMoments),
      configurationHash: configuration.hash,
      libraryVersions: ["libtorch": Torch.version, "xtuner": XTunerVersion.current])
    try writer.submit(contents)
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
    let chart = LossChart(title: configuration.run.name, history: history)
    try directory.write(chart.svg(), to: layout.lossChart)
    chartedStep = step
  }

  func exportModel(to path: String) throws {
    // Before the weights, which all ranks put together: a rank that failed here would not take part.
    let files = try ranks.agree("export the model") {
      ranks.isMain ? try ModelExport.files(data.tokenizer, template: data.template) : []
    }
    try ranks.agree("export the model") {
      try HFWeights.export(
        prepared.model, units: prepared.units, to: path, dtype: DType(configuration.model.dtype),
        overwrites: true, files: files)
    }
  }
}

/// Parts of a Hugging Face folder beside the weights.
public enum ModelExport {
  /// The files that `tokenizer` saves, by name, and the template as `chat_template.jinja` where it
  /// has a Jinja form.
  public static func files(
    _ tokenizer: Tokenizer, template: ChatTemplate?
  ) throws -> [(name: String, bytes: [UInt8])] {
    var files = tokenizer.savedFiles
    if let jinja = template?.jinjaTemplate {
      files.append((name: "chat_template.jinja", bytes: Array(jinja.utf8)))
    }
    return files
  }
}

/// The version of the program.
public enum XTunerVersion {
  /// As in CHANGELOG.md.
  public static let current = "0.1.0"
}
