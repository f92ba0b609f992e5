import Foundation
import XTunerCheckpoint
import XTunerTokenizers

extension TrainingRun {
  /// The date that gpt-oss is told: that of the day on which the run started.
  ///
  /// It is part of the text, so that a run keeps it on whichever day it is resumed. Nil where the
  /// template has no place for one or the configuration says it.
  static func currentDate(
    _ configuration: RunConfiguration, resume: ResumePolicy, layout: RunLayout, ranks: RunRanks
  ) throws -> String? {
    let template = try configuration.chatTemplate().template
    guard let today = template?.currentDate, configuration.data.currentDate == nil else {
      return nil
    }
    let date = try ranks.agree("find the day on which the run started") {
      ranks.isMain ? try startDate(resume, layout: layout) ?? today : today
    }
    // Midnight may lie between the clocks of two ranks: rank 0 says which day it is.
    let digits = Int(date.filter { $0 != "-" }) ?? 0
    let agreed = Int(try ranks.sum(ranks.isMain ? Double(digits) : 0))
    return String(format: "%04d-%02d-%02d", agreed / 10_000, agreed / 100 % 100, agreed % 100)
  }

  /// The date in the checkpoint that a run goes on from; nil for a new run, and for one from before
  /// the date was kept.
  private static func startDate(_ resume: ResumePolicy, layout: RunLayout) throws -> String? {
    let checkpoint =
      switch resume {
      case .never: nil as RunCheckpoint?
      case .automatic: try RunCheckpointStore(folder: layout.checkpoints).latestComplete()
      case .checkpoint(let path): try RunCheckpoint(path: path)
      }
    return try checkpoint?.state(as: TrainingState.self).currentDate
  }
}
