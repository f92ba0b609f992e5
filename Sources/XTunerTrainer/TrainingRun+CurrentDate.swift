import Foundation
import XTunerCheckpoint
import XTunerConfiguration
import XTunerLaunch
import XTunerTokenizers

extension TrainingRun {
  /// The date that gpt-oss is told: that of the day on which the run started.
  ///
  /// It is part of the text, so that a run keeps it on whichever day it is resumed. Nil where the
  /// template has no place for one or the configuration says it.
  static func currentDate(
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
