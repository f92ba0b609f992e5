import Foundation
import XTunerCommands
import XTunerConfiguration
import XTunerData
import XTunerTrainer

/// `xtuner data stats`.
enum DataStatsHandler {
  static func run(_ command: DataStatsCommand) throws {
    let configuration = try command.source.load()
    let data = try PreparedData.loaded(configuration)
    let statistics = try DataStatistics(
      sources: data.training, counts: data.counts,
      sequenceLength: data.packing.sequenceLength, lookAhead: data.packing.lookAhead,
      cutsLongSamples: data.cutsTexts, seed: UInt64(configuration.run.seed))
    guard command.result.isJSON else {
      return Output.write(statistics.text(width: Output.tableWidth), terminator: "")
    }
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    Output.write(String(decoding: try encoder.encode(statistics), as: UTF8.self))
  }
}
