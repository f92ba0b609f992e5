import Foundation
import XTunerCommands
import XTunerConfiguration
import XTunerData
import XTunerRun
import XTunerTokenizers
import XTunerTrainer
import XTunerText

/// `xtuner data inspect`.
enum DataInspectHandler {
  static func run(_ command: DataInspectCommand) throws {
    let configuration = try command.source.load()
    let data = try PreparedData.loaded(configuration)
    let source = try select(command.sourceName, of: data)
    guard command.index < source.samples.count else {
      throw CommandFailure(
        .usage,
        """
        --index must be below the \(source.samples.count) samples of \(source.name), \
        is \(command.index)
        """)
    }
    let last = min(command.index + command.samples, source.samples.count)
    let renderer = SampleRenderer(style: isColored(command.color) ? .color : .plain)
    for index in command.index..<last {
      let sample = Sample(source, index: index)
      if command.json {
        Output.write(try sample.json(source, data: data))
      } else {
        if index > command.index { Output.write("") }
        Output.write(try sample.text(source, data: data, renderer: renderer))
      }
    }
  }

  private static func select(_ name: String?, of data: PreparedData) throws -> DataSource {
    let sources = data.training + data.evaluation
    guard let name else {
      guard let first = sources.first else {
        throw CommandFailure(.data, "data.train: has no source")
      }
      return first
    }
    guard let found = sources.first(where: { $0.name.isExactly(name) }) else {
      let names = sources.map(\.name).joined(separator: ", ")
      throw CommandFailure(.usage, "--source must be one of \(names), is \(name)")
    }
    return found
  }

  private static func isColored(_ mode: ColorMode) -> Bool {
    switch mode {
    case .always: true
    case .never: false
    case .automatic:
      isatty(STDOUT_FILENO) == 1
        && (ProcessInfo.processInfo.environment["NO_COLOR"] ?? "").isEmpty
    }
  }
}

/// A sample with what there is to say about it.
private struct Sample {
  let index: Int
  let tokens: [Int32]
  let lossMask: [Bool]
  let origin: SampleOrigin?

  init(_ source: DataSource, index: Int) {
    self.index = index
    let labels: [Int32]
    (tokens, labels) = source.samples.tokensAndLabels(at: index)
    lossMask = labels.map { $0 != TokenizedSample.ignoredLabel }
    origin = source.samples.origin(at: index)
  }

  private var lossTokenCount: Int { lossMask.count { $0 } }

  private var place: String? { origin.map { "\($0.file):\($0.line)" } }

  func text(
    _ source: DataSource, data: PreparedData, renderer: SampleRenderer
  ) throws -> String {
    let percent = NumberFormat.percent(Double(lossTokenCount) / Double(max(tokens.count, 1)))
    let rendered = try renderer.render(tokens: tokens, lossMask: lossMask) {
      try data.tokenizer.decode($0)
    }
    return """
      \(source.name), sample \(index) of \(source.samples.count), \(place ?? "origin unknown")
      \(tokens.count) tokens, \(lossTokenCount) with a loss (\(percent)); template \
      \(data.template?.name ?? "none")

      \(rendered)
      """
  }

  func json(
    _ source: DataSource, data: PreparedData
  ) throws -> KeyValuePairs<String, JSONValue> {
    [
      "source": .string(source.name), "index": .integer(index),
      "file": .optional(origin?.file), "line": origin.map { .integer($0.line) } ?? .null,
      "loss_tokens": .integer(lossTokenCount), "tokens": .integers(tokens),
      "loss_mask": .integers(lossMask.map { $0 ? 1 : 0 }),
      "text": .string(try data.tokenizer.decode(tokens)),
    ]
  }
}

extension PreparedData {
  /// The data of a configuration, with progress and notes on standard error.
  static func loaded(_ configuration: RunConfiguration) throws -> PreparedData {
    let progress = ProgressReporter(logging: configuration.logging, totalSteps: 0)
    let data = try PreparedData(configuration, model: configuration.modelConfiguration()) {
      progress.note($0)
    }
    for note in data.notes { progress.note(note) }
    return data
  }
}
