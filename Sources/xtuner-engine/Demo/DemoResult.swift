import XTunerRun
import XTunerSynthesis
import XTunerTokenizers
import XTunerTrainer

/// What a finished demo shows.
struct DemoResult {
  let files: DemoFiles
  let outcome: TrainingOutcome
  let before: DemoExam.Score
  let after: DemoExam.Score
  let unseenNumbers: DemoExam.Score
  let trainingSeconds: Double
  let totalSeconds: Double

  func write() throws {
    let losses = try MetricsHistory(path: outcome.layout.metrics).training.map(\.loss)
    Output.write("\nSampled answers to held-out questions:")
    for answer in after.answers.prefix(4) {
      let isRight = answer.text == answer.problem.answer
      Output.write("  Q: \(answer.problem.question)")
      Output.write(
        "  A: \(answer.text)\(isRight ? "" : "   (expected: \(answer.problem.answer))")\n")
    }
    var rows = [(label: "accuracy before", value: before.summary)]
    rows.append(("accuracy after", after.summary))
    rows.append(("with unseen numbers", unseenNumbers.summary))
    if let first = losses.first, let last = losses.last {
      let text = "\(NumberFormat.loss(first)) to \(NumberFormat.loss(last))"
      let width = Output.curveWidth(labelWidth: "Hugging Face export".count, textWidth: text.count)
      rows.append(("loss", "\(Sparkline.text(losses, width: width))  \(text)"))
    }
    rows.append(
      (
        "time",
        "\(NumberFormat.duration(seconds: trainingSeconds)) training, "
          + "\(NumberFormat.duration(seconds: totalSeconds)) in all"
      ))
    rows.append(("loss curve", outcome.layout.lossChart))
    rows.append(("run directory", outcome.layout.root))
    if let export = outcome.exportPath { rows.append(("Hugging Face export", export)) }
    Output.write(rows: rows)
    if let export = outcome.exportPath {
      let question = after.answers.first?.problem.question ?? ""
      Output.write(
        "\nAsk it yourself:\n  xtuner generate \(export) --chat --prompt \"\(question)\"")
    }
  }

  func writeJSON() {
    Output.write([
      "accuracy_before": .number(before.share), "accuracy_after": .number(after.share),
      "accuracy_unseen_numbers": .number(unseenNumbers.share),
      "steps": .integer(outcome.step), "final_loss": .number(outcome.finalLoss),
      "training_seconds": .number(trainingSeconds), "seconds": .number(totalSeconds),
      "run_directory": .string(outcome.layout.root), "chart": .string(outcome.layout.lossChart),
      "configuration": .string(files.configuration), "export": .optional(outcome.exportPath),
    ])
  }
}
