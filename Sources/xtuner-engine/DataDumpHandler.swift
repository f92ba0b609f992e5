import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerData
import XTunerRun
import XTunerTokenizers
import XTunerTrainer

/// `xtuner data dump`.
enum DataDumpHandler {
  static func run(_ command: DataDumpCommand) throws {
    let configuration = try command.source.load()
    let options = configuration.data
    let files = (options.train + options.evaluation).flatMap { OutputName.dataFiles($0.path) }
    try OutputName.checkFile(
      "--out", command.out,
      inputs: files + [command.source.file]
        + [configuration.tokenizer.path, configuration.model.path].compactMap(\.self))
    try checkSize(command, configuration)
    let loader = try PreparedData.loaded(configuration).makeLoader(configuration)
    var steps: [[Pack]] = []
    while steps.count < command.steps {
      let packs = try loader.nextStep()
      guard !packs.isEmpty else {
        throw CommandFailure(
          .data,
          """
          --steps must be at most \(steps.count), where the data of training.epochs ends, \
          is \(command.steps)
          """)
      }
      steps.append(packs)
    }
    let table = PackTable(steps, sequenceLength: configuration.data.sequenceLength)
    try Output.write(table.tensors, to: command.out)
    report(table, command)
  }

  /// Refuses what would not fit into memory, where the tables are put together: 16 bytes a token.
  private static func checkSize(
    _ command: DataDumpCommand, _ configuration: RunConfiguration
  ) throws(CommandFailure) {
    let perStep = configuration.training.packsPerStep * configuration.data.sequenceLength
    let limit = 1 << 30
    guard command.steps > limit / perStep else { return }
    throw CommandFailure(
      .usage,
      """
      --steps: \(command.steps) steps of training.packs_per_step \
      (\(configuration.training.packsPerStep)) x data.sequence_length \
      (\(configuration.data.sequenceLength)) tokens are more than the \(limit) tokens of one file; \
      give at most \(max(1, limit / perStep))
      """)
  }

  private static func report(_ table: PackTable, _ command: DataDumpCommand) {
    if command.json {
      Output.write([
        "file": .string(command.out), "steps": .integer(table.shape[0]),
        "packs": .integer(table.shape[1]), "sequence_length": .integer(table.shape[2]),
        "tokens": .integer(table.tokenCount), "loss_tokens": .integer(table.lossTokenCount),
      ])
    } else {
      Output.write(
        """
        \(command.out): \(table.shape[0]) steps of \(table.shape[1]) packs, \(table.tokenCount) \
        tokens, \(table.lossTokenCount) with a loss
        """)
    }
  }
}

/// Packs of several steps as rectangular tables.
private struct PackTable {
  /// Steps, packs, sequence length.
  let shape: [Int]
  let tokenCount: Int
  let lossTokenCount: Int
  private var tokens: [Int64] = []
  private var labels: [Int64] = []
  private var lengths: [Int64] = []
  private let sampleCount: Int

  init(_ steps: [[Pack]], sequenceLength: Int) {
    let packCount = steps.map(\.count).max() ?? 0
    let packs = steps.flatMap { $0 }
    shape = [steps.count, packCount, sequenceLength]
    tokenCount = packs.reduce(0) { $0 + $1.tokens.count }
    lossTokenCount = packs.reduce(0) { $0 + $1.lossTokenCount }
    sampleCount = packs.map(\.sampleLengths.count).max() ?? 0
    let empty = Pack(tokens: [], labels: [], sampleLengths: [], sources: [])
    for step in steps {
      for pack in step + Array(repeating: empty, count: packCount - step.count) {
        tokens += Self.filled(pack.tokens, to: sequenceLength, with: 0)
        labels += Self.filled(
          pack.labels, to: sequenceLength, with: Int64(TokenizedSample.ignoredLabel))
        lengths += Self.filled(pack.sampleLengths, to: sampleCount, with: 0)
      }
    }
  }

  var tensors: [(name: String, tensor: Tensor)] {
    [
      ("tokens", Tensor(tokens, shape: shape)), ("labels", Tensor(labels, shape: shape)),
      ("lengths", Tensor(lengths, shape: [shape[0], shape[1], sampleCount])),
    ]
  }

  private static func filled(_ values: [Int32], to count: Int, with filler: Int64) -> [Int64] {
    values.map(Int64.init) + Array(repeating: filler, count: count - values.count)
  }
}
