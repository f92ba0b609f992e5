import Foundation
import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerEngine
import XTunerGeneration
import XTunerRun
import XTunerSynthesis
import XTunerSystem
import XTunerTokenizers
import XTunerTrainer

/// `xtuner demo`: data, tokenizer, model, training and answers in one command.
enum DemoHandler {
  static func run(_ command: DemoCommand) throws {
    let start = ContinuousClock.now
    let files = DemoFiles(root: command.out)
    try files.clear()
    let (heldOut, numbers) = try files.writeData()
    step(
      1,
      "wrote \(DemoFiles.trainingCount) problems to \(files.trainingData), "
        + "\(heldOut.count) held out with unseen questions, "
        + "\(numbers.count) with unseen numbers")
    let tokenizer = try files.trainTokenizer()
    step(2, "trained a tokenizer of \(tokenizer.vocabularySize) tokens: \(files.tokenizer)")
    let cores = ProcessorCount.available()
    try files.writeConfiguration(tokenizer, threads: command.threads.count ?? cores)
    step(3, "wrote the configuration \(files.configuration)")

    let configuration = try RunConfiguration.load(file: files.configuration)
    let stopRequest = StopRequest { Output.note($0) }
    let signals = SignalHandlers(request: stopRequest)
    let run = try TrainingRun(configuration, resume: .never, stopRequest: stopRequest)
    let exam = DemoExam(model: run.model, tokenizer: tokenizer)
    let before = try exam.take(heldOut)
    step(4, "before training: \(before.summary) of the held-out problems are answered right")
    let trainingStart = ContinuousClock.now
    let outcome = try withExtendedLifetime(signals) { try run.run() }
    let trainingSeconds = (ContinuousClock.now - trainingStart).seconds
    guard !outcome.isStopped else {
      throw DemoError(
        "stopped at step \(outcome.step); go on with: xtuner train \(files.configuration)")
    }
    let after = try exam.take(heldOut)
    let unseenNumbers = try exam.take(numbers)
    let result = DemoResult(
      files: files, outcome: outcome, before: before, after: after, unseenNumbers: unseenNumbers,
      trainingSeconds: trainingSeconds, totalSeconds: (ContinuousClock.now - start).seconds)
    command.json ? result.writeJSON() : try result.write()
  }

  private static func step(_ number: Int, _ text: String) {
    Output.note("[\(number)/5] \(text)")
  }
}

/// Asks a model problems and compares its greedy answers, whole, with the right ones.
struct DemoExam {
  let model: PreparedModel
  let tokenizer: Tokenizer

  /// The answers to a list of problems.
  struct Score {
    var answers: [(problem: ArithmeticProblem, text: String)]

    var correctCount: Int { answers.count { $0.text == $0.problem.answer } }
    var share: Double { Double(correctCount) / Double(max(answers.count, 1)) }
    var summary: String { "\(correctCount) of \(answers.count) (\(NumberFormat.percent(share)))" }
  }

  func take(_ problems: [ArithmeticProblem]) throws -> Score {
    let template = try ChatTemplate.named("qwen3-2507")
    let prompts = try problems.map { problem in
      try tokenizer.encode(
        try template.render(
          [ChatMessage(role: "user", content: problem.question)], addGenerationPrompt: true))
    }
    let generator = TextGenerator(model: model.model, tokenizer: tokenizer, batchSize: 250)
    let longest = try problems.map { try tokenizer.encode($0.answer).count }.max() ?? 0
    let sequences = try generator.generate(
      prompts: prompts,
      options: .greedy(
        maximumTokenCount: longest + 2, stopTokens: generator.stopTokens(template: template)))
    return Score(answers: zip(problems, sequences).map { ($0, $1.text) })
  }
}
