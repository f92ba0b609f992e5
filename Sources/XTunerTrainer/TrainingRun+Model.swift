import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerModels
import XTunerRun

extension TrainingRun {
  /// The checkpoint that the model has to fit, before ranks have met.
  ///
  /// Each of them reads it, and nothing is cleaned up; `StartingPoint` decides later and reports what is
  /// wrong.
  static func existingCheckpoint(
    _ resume: ResumePolicy, layout: RunLayout
  ) -> RunCheckpoint? {
    switch resume {
    case .automatic: try? RunCheckpointStore(folder: layout.checkpoints).latestComplete()
    case .checkpoint(let path): try? RunCheckpoint(path: path)
    case .never, .anew: nil
    }
  }

  /// What was understood of the model, for operators.
  static func log(_ described: DescribedModel, to log: RunLog) throws {
    for note in described.notes { try log.write(.warning, "model", ["note": note]) }
    for detail in described.details { try log.write(.info, "model", ["note": detail]) }
  }
}

extension PreparedData {
  /// Checks that no sample is longer than the model's positions; a sentence where packs alone are.
  ///
  /// - Throws: `ConfigurationError` naming the first sample that is.
  func checkPositions(
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
