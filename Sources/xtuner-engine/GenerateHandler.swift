import Foundation
import Torch
import XTunerCommands
import XTunerEngine
import XTunerGeneration
import XTunerModels
import XTunerRun
import XTunerSystem
import XTunerTokenizers
import XTunerTrainer

/// `xtuner generate`: one answer, or a chat that goes on until standard input ends.
struct GenerateHandler {
  private let command: GenerateCommand
  private let tokenizer: Tokenizer
  private let template: ChatTemplate?
  private let generator: TextGenerator
  private let options: SamplingOptions

  /// Generates what the command asks for.
  static func run(_ command: GenerateCommand) throws {
    if let threads = command.threads.count { Torch.setThreadCount(threads) }
    var command = command
    command.model = try ModelLocation.ofProcess.path(of: command.model)
    let handler = try GenerateHandler(command)
    if let prompt = command.prompt {
      try handler.answerOnce(prompt)
    } else {
      try handler.chat()
    }
  }

  private init(_ command: GenerateCommand) throws {
    self.command = command
    // What takes no time to check comes before the weights.
    tokenizer = try Tokenizer(path: command.model)
    if command.chat {
      template =
        if let name = command.template {
          try ChatTemplate.named(name)
        } else {
          try ChatTemplate.detected(inFolder: command.model, tokenizer: tokenizer)
        }
    } else {
      template = nil
    }
    let model = try PreparedModel(path: command.model, computeDType: DType(command.dtype)).model
    for note in model.configuration.notes { Output.note(note) }
    generator = TextGenerator(model: model, tokenizer: tokenizer)
    options = SamplingOptions(
      maximumTokenCount: command.maxTokens, temperature: command.temperature, topP: command.topP,
      topK: command.topK > 0 ? command.topK : nil, stopStrings: command.stop,
      stopTokens: generator.stopTokens(template: template)
        .union(try ModelFolder(path: command.model).endTokens(tokenizer: tokenizer)),
      seed: command.seed)
  }

  private func answerOnce(_ prompt: String) throws {
    guard let template else {
      _ = try answer(try tokenizer.encode(prompt, addSpecialTokens: true))
      return
    }
    let messages = systemMessages + [ChatMessage(role: "user", content: prompt)]
    _ = try answer(try encode(messages, template))
  }

  /// Reads a message a line and keeps the conversation.
  private func chat() throws {
    guard let template else { return }
    var messages = systemMessages
    let isInteractive = isatty(STDIN_FILENO) == 1
    if isInteractive { Output.note("One message a line; Ctrl-D ends the chat.") }
    while true {
      if isInteractive { Output.prompt("> ") }
      guard let line = readLine() else { break }
      guard !line.allSatisfy(\.isWhitespace) else { continue }
      messages.append(ChatMessage(role: "user", content: line))
      let text = try answer(try encode(messages, template))
      messages.append(ChatMessage(role: "assistant", content: text))
    }
    if isInteractive { Output.note("") }
  }

  private var systemMessages: [ChatMessage] {
    command.system.map { [ChatMessage(role: "system", content: $0)] } ?? []
  }

  private func encode(_ messages: [ChatMessage], _ template: ChatTemplate) throws -> [Int32] {
    try tokenizer.encode(
      try template.render(
        messages, addGenerationPrompt: true, enableThinking: command.thinking))
  }

  /// Generates and prints one answer; returns its text.
  private func answer(_ prompt: [Int32]) throws -> String {
    let clock = ContinuousClock()
    let start = clock.now
    var firstToken: Duration?
    let sequence = try generator.generate(
      prompts: [prompt], options: options,
      onToken: { _, _ in firstToken = firstToken ?? clock.now - start },
      onText: { _, text in if !command.json { Output.write(text, terminator: "") } })[0]
    let seconds = (clock.now - start).seconds
    let firstSeconds = firstToken?.seconds ?? seconds
    // The first token is the prompt's work; the rate is that of the others.
    let rate =
      sequence.ids.count > 1
      ? Double(sequence.ids.count - 1) / max(seconds - firstSeconds, 1e-9) : nil
    if command.json {
      Output.write([
        "text": .string(sequence.text), "ids": .integers(sequence.ids),
        "finish_reason": .string(sequence.finishReason.name),
        "stop": .optional(stopText(sequence.finishReason)),
        "prompt_tokens": .integer(prompt.count), "tokens": .integer(sequence.ids.count),
        "tokens_per_second": .number(rate), "first_token_seconds": .number(firstSeconds),
        "seconds": .number(seconds),
      ])
    } else {
      Output.write("")
      let speed = rate.map { "\(NumberFormat.si($0)) tokens/s" } ?? "too few for a rate"
      Output.note(
        "[\(prompt.count) + \(sequence.ids.count) tokens, \(speed), first after "
          + String(format: "%.2f", firstSeconds) + " s; \(ending(sequence.finishReason))]")
    }
    return sequence.text
  }

  private func stopText(_ reason: FinishReason) -> String? {
    switch reason {
    case .stopToken(let id): tokenizer.token(of: id) ?? String(id)
    case .stopString(let text): text
    case .maximumTokenCount, .contextLimit: nil
    }
  }

  private func ending(_ reason: FinishReason) -> String {
    switch reason {
    case .stopToken, .stopString: "ended by \(stopText(reason) ?? "")"
    case .maximumTokenCount: "cut after --max-tokens \(command.maxTokens)"
    case .contextLimit:
      "cut at the model's context of \(generator.model.configuration.maximumPositionCount)"
    }
  }
}
