import Foundation
import XTunerCheckpoint
import XTunerRun

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

extension ResumePolicy {
  /// The checkpoint that the model has to fit, before ranks have met.
  ///
  /// Each of them reads it, and nothing is cleaned up; `StartingPoint` decides later and reports what is
  /// wrong.
  func existingCheckpoint(in layout: RunLayout) -> RunCheckpoint? {
    switch self {
    case .automatic: try? RunCheckpointStore(folder: layout.checkpoints).latestComplete()
    case .checkpoint(let path): try? RunCheckpoint(path: path)
    case .never, .anew: nil
    }
  }
}
