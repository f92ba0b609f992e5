import Torch
import XTunerCheckpoint
import XTunerConfiguration
import XTunerData
import XTunerNN
import XTunerParallel
import XTunerText

/// Everything but tensors that a resumed run needs.
struct TrainingState: Codable, Sendable {
  /// Optimizer steps done, skipped ones included.
  var step: Int
  /// Updates done: the optimizer's own count.
  var updateCount: Int
  /// Updates that were skipped since the start.
  var skippedCount: Int
  /// Of those, the ones without an applied update after them; nil in checkpoints that do not say.
  var consecutiveSkipCount: Int?
  /// Steps whose packs had no label; nil in checkpoints that do not say.
  var unlabelledCount: Int?
  /// The update rule that the moments are of; nil in checkpoints that do not say.
  var optimizer: String?
  /// Where the data stands.
  var loader: LoaderState
  /// Whether the optimizer's moments are in the checkpoint.
  var hasMoments: Bool
  /// The date that gpt-oss is told, `YYYY-MM-DD`, which a run keeps.
  ///
  /// Nil for other templates, and in checkpoints from before it was kept.
  var currentDate: String?
}

extension TrainingState {
  /// The most samples and tokens that are counted; sums stay far from overflow.
  private static let largestCount = 1 << 53
  /// The most epochs.
  private static let largestEpoch = 1 << 31

  /// Throws where a counter is impossible, since the digests say only that nobody changed the file since.
  func check(against checkpoint: RunCheckpoint) throws(CheckpointError) {
    func damaged(_ reason: String) -> CheckpointError {
      CheckpointError(.damaged, path: "\(checkpoint.path)/state.json", reason)
    }
    guard step == checkpoint.step else {
      throw damaged("step is \(step), the manifest says \(checkpoint.step)")
    }
    let counters = [
      ("updateCount", updateCount, step), ("skippedCount", skippedCount, step),
      ("loader.epoch", loader.epoch, Self.largestEpoch),
      ("loader.packsConsumed", loader.packsConsumed, Self.largestCount),
      ("loader.samplesConsumed", loader.samplesConsumed, Self.largestCount),
      ("loader.tokensConsumed", loader.tokensConsumed, Self.largestCount),
    ]
    for (name, value, limit) in counters where !(0...limit).contains(value) {
      throw damaged("\(name) must be between 0 and \(limit), is \(value)")
    }
  }
}

extension UnitFiles {
  /// The update rule whose moments a checkpoint holds that does not name it.
  ///
  /// AdamW has second moments of every parameter, Muon of those that are no matrices.
  static func optimizer(ofMomentsIn checkpoint: RunCheckpoint) -> String {
    func parameters(_ kind: UnitFiles.Kind) -> Set<ExactText> {
      Set<ExactText>(
        checkpoint.manifest.pieces.filter { kind.isKind(ofFile: $0.file) }.map(\.parameter))
    }
    let isComplete = parameters(.secondMoments) == parameters(.weights)
    return (isComplete ? OptimizerOptions.Name.adamw : .muon).rawValue
  }
}
