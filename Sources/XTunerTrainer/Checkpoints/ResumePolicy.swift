import Foundation
import XTunerCheckpoint
public import XTunerRun

/// How a run starts when its directory already holds one.
public enum ResumePolicy: Sendable, Equatable {
  /// From the newest complete checkpoint, or anew where there is none.
  case automatic
  /// Anew; a directory that holds a run is refused.
  case never
  /// Anew also where checkpoints were lost or are damaged; whole ones are refused.
  case anew
  /// From this checkpoint folder.
  case checkpoint(String)

  /// Reads the value of `--resume`.
  public init(_ text: String) {
    switch text {
    case "auto": self = .automatic
    case "never": self = .never
    case "anew": self = .anew
    default: self = .checkpoint(text)
    }
  }

  /// Reads the value of `--resume`, of which a run directory means its newest checkpoint.
  ///
  /// - Throws: ``TrainingError`` for a run directory without a complete checkpoint.
  public init(locating text: String) throws {
    self.init(text)
    guard case .checkpoint(let path) = self else { return }
    let run = RunLayout(root: path)
    guard FileManager.default.fileExists(atPath: run.configuration) else { return }
    guard let newest = try RunCheckpointStore(folder: run.checkpoints).latestComplete() else {
      throw TrainingError(
        .model, "--resume \(path): the run has no complete checkpoint to go on from")
    }
    self = .checkpoint(newest.path)
  }
}

/// How a run ended.
public struct TrainingOutcome: Sendable {
  /// Optimizer steps done, over all sessions of the run.
  public var step: Int
  /// The first step that this session computed; nil when no step was taken.
  public var firstStep: Int?
  /// Whether a signal stopped it early; a checkpoint was written.
  public var isStopped: Bool
  /// The loss of the last step; nil when no step was taken.
  public var finalLoss: Double?
  /// The exported Hugging Face folder, if one was written.
  public var exportPath: String?
  /// Where everything is.
  public var layout: RunLayout
}
