import Foundation
import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerEngine
import XTunerLaunch
import XTunerModels
import XTunerRun
import XTunerTokenizers

/// The data of a run, tokenised and packed, and what its tokenizer puts beside the weights.
struct RunData {
  let prepared: PreparedData
  let loader: DataLoader
  let evaluationLoader: EvaluationLoader?
  /// What a Hugging Face folder of this run has beside the weights; empty on all ranks but 0.
  let modelFiles: [ModelFile]

  /// Prepares the data of a new run, or of one that goes on from `checkpoint`.
  init(
    _ place: RunPlace, _ described: DescribedModel, resuming checkpoint: RunCheckpoint?,
    note: (String) -> Void
  ) throws {
    let (configuration, ranks, log) = (place.configuration, place.ranks, place.log)
    let model = described.configuration
    let date = try Self.currentDate(configuration, resuming: checkpoint, ranks: ranks)
    let prepared = try ranks.oneFirst("prepare the data") {
      let saved = try checkpoint?.state(as: TrainingState.self).loader.identity
      let data = try PreparedData(
        configuration, model: model, resuming: saved, currentDate: date, progress: note)
      try model.checkVocabulary(of: data.tokenizer)
      return data
    }
    self.prepared = prepared
    for text in described.notes + prepared.notes { note(text) }
    try ranks.agree("write the log") {
      try described.write(to: log)
      for text in prepared.notes { try log.write(.info, "data", ["note": text]) }
      if let text = try prepared.checkPositions(model, configuration) {
        try log.write(.info, "positions", ["note": text])
      }
    }
    modelFiles = try ranks.agree("prepare the files beside the weights") {
      ranks.isMain
        ? try ModelExport.files(
          model, dtype: DType(configuration.model.dtype),
          beside: try configuration.exportFiles(
            prepared.tokenizer, template: prepared.templateChoice)) : []
    }
    (loader, evaluationLoader) = try ranks.agree("pack the data") {
      (try prepared.makeLoader(configuration), try prepared.makeEvaluationLoader(configuration))
    }
  }

  /// The date that gpt-oss is told: that of the day on which the run started.
  ///
  /// It is part of the text, so that a run keeps it on whichever day it is resumed. Nil where the
  /// template has no place for one or the configuration says it.
  private static func currentDate(
    _ configuration: RunConfiguration, resuming checkpoint: RunCheckpoint?, ranks: RunRanks
  ) throws -> String? {
    let template = try configuration.chatTemplate().template
    guard let today = template?.currentDate, configuration.data.currentDate == nil else {
      return nil
    }
    // A checkpoint of before the date was kept has none.
    let date = try ranks.agree("find the day on which the run started") {
      try checkpoint?.state(as: TrainingState.self).currentDate ?? today
    }
    // Midnight may lie between the clocks of two ranks: rank 0 says which day it is.
    let digits = Int(date.filter { $0 != "-" }) ?? 0
    let agreed = Int(try ranks.sum(ranks.isMain ? Double(digits) : 0))
    return String(format: "%04d-%02d-%02d", agreed / 10_000, agreed / 100 % 100, agreed % 100)
  }
}

extension DescribedModel {
  /// What was understood of the model, for operators.
  fileprivate func write(to log: RunLog) throws {
    for note in notes { try log.write(.warning, "model", ["note": note]) }
    for detail in details { try log.write(.info, "model", ["note": detail]) }
  }
}

extension PreparedData {
  /// Checks that no sample is longer than the model's positions; a sentence where packs alone are.
  ///
  /// - Throws: `ConfigurationError` naming the first sample that is.
  fileprivate func checkPositions(
    _ model: ModelConfiguration, _ configuration: RunConfiguration
  ) throws -> String? {
    let (limit, packLength) = (model.maximumPositionCount, packing.sequenceLength)
    guard packLength > limit else { return nil }
    for source in training + evaluation {
      for index in 0..<source.samples.count {
        let length = min(source.samples.length(at: index), packLength)
        guard length > limit else { continue }
        let place = source.samples.origin(at: index).map { "\($0.file):\($0.line)" } ?? source.name
        throw configuration.error(
          at: "data.sequence_length",
          """
          is \(packLength), and \(place) makes a sample of \(length) tokens, but the model's positions \
          end at \(limit) (max_position_embeddings); lower it, or set \
          model.overrides.max_position_embeddings, with rope_scaling where the weights need it
          """)
      }
    }
    return
      "packs of \(packLength) tokens are longer than the model's \(limit) positions; no sample is"
  }
}
