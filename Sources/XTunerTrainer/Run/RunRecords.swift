import XTunerConfiguration
import XTunerLaunch
import XTunerRun

/// What a run shows and writes of its steps: metrics, TensorBoard, progress and the loss curve.
///
/// What this rank could not write waits here until the ranks meet the next time.
final class RunRecords {
  private let place: RunPlace
  private let stepCount: Int
  let metrics: MetricsWriter?
  private let tensorBoard: TensorBoardWriter?
  let progress: ProgressReporter
  /// The first thing that this rank could not write since the ranks last agreed.
  private(set) var unwritten: (any Error)?
  /// The loss curve so far, for the chart; on rank 0.
  private var history = MetricsHistory()
  /// Steps that the chart on the disk shows.
  private var chartedStep = 0

  /// Opens the files for what comes after `step`, or refuses those of an earlier run where `isNew`.
  init(_ place: RunPlace, stepCount: Int, after step: Int, isNew: Bool) throws {
    self.place = place
    self.stepCount = stepCount
    let (layout, ranks, logging) = (place.layout, place.ranks, place.configuration.logging)
    metrics = try ranks.agree("open the metrics") {
      ranks.isMain
        ? try MetricsWriter(path: layout.metrics, resumingAfter: isNew ? nil : step) : nil
    }
    tensorBoard = try ranks.agree("open the TensorBoard file") {
      ranks.isMain && logging.tensorboard
        ? try TensorBoardWriter(folder: layout.tensorboard, resumingAfter: step) : nil
    }
    progress = ranks.reporter(logging, totalSteps: stepCount)
  }

  /// Reads the curve of earlier sessions, which ended at `step`.
  func readHistory(upTo step: Int) throws {
    if place.ranks.isMain { history = try MetricsHistory(path: place.layout.metrics) }
    chartedStep = step
  }

  /// Takes down a step that is done.
  func record(_ report: StepMetrics) {
    keep { try metrics?.write(report) }
    if report.step % place.configuration.logging.everySteps == 0 || report.step == stepCount {
      keep { try tensorBoard?.write(report) }
    }
    progress.report(report)
    if place.ranks.isMain {
      let loss = report.loss.isFinite ? report.loss : .nan
      history.training.append(.init(step: report.step, loss: loss))
    }
    // Never more than a tenth behind, and some hundred charts in a run of a million steps.
    if 10 * (report.step - chartedStep) > chartedStep {
      keep { try writeChart(step: report.step) }
    }
  }

  /// Takes down an evaluation.
  func record(_ result: EvaluationMetrics) {
    keep {
      try metrics?.write(result)
      try tensorBoard?.write(result)
    }
    progress.report(result)
    history.evaluation.append(.init(step: result.step, loss: result.loss))
    keep { try writeChart(step: result.step) }
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

  /// Writes the loss curve of all steps up to `step`.
  func writeChart(step: Int) throws {
    guard let directory = place.directory, !history.training.isEmpty else { return }
    try directory.checkIsInPlace()
    let chart = LossChart(title: place.configuration.run.name, history: history)
    try directory.write(chart.svg(), to: place.layout.lossChart)
    chartedStep = step
  }
}
