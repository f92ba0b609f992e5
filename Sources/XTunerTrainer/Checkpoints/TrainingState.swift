import Torch
import XTunerCheckpoint
import XTunerData
import XTunerNN
import XTunerParallel

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
