import Foundation
import Torch
import XTunerLaunch
import XTunerParallel
import XTunerRun

/// The timelines of the steps that `--trace` names: a file a rank, then one of all ranks.
final class TraceWriter {
  private let steps: TraceSteps
  private let ranks: RunRanks
  private let folder: URL
  private let file: URL
  private let recorder: TimelineRecorder

  /// Clocks of several machines are compared here, once, by all ranks together.
  init(_ steps: TraceSteps, ranks: RunRanks, layout: RunLayout, stepCount: Int) throws {
    guard steps.steps.lowerBound <= stepCount else {
      throw TrainingError(
        .usage, "--trace steps=\(steps): the run has \(stepCount) steps, so there is no such step")
    }
    self.steps = steps
    self.ranks = ranks
    folder = URL(fileURLWithPath: layout.traces, isDirectory: true)
    file = URL(fileURLWithPath: layout.trace)
    var offset: Int64 = 0
    if ranks.environment.localWorldSize < ranks.count {
      let samples = try (0..<16).map { _ in
        try ranks.mesh.world.barrier(label: "clocks")
        // Doubles hold nanoseconds exactly up to 104 days of uptime.
        return try ranks.mesh.world.gatherValues([Double(TraceClock.now())], label: "clocks")
          .map { Int64($0[0]) }
      }
      offset = TraceClock.offset(ofRank: ranks.rank, samples: samples)
    }
    recorder = TimelineRecorder(rank: ranks.rank, clockOffset: offset)
  }

  /// Where the events of a step go; nil in a step that is not traced.
  func recorder(step: Int) -> TimelineRecorder? { steps.contains(step) ? recorder : nil }

  /// Writes the files after the last traced step; all ranks call it.
  func finish(step: Int, isLast: Bool) throws {
    guard step == steps.steps.upperBound || (isLast && steps.contains(step)) else { return }
    _ = try ranks.agree("write the trace") { try TraceFile.write(recorder, folder: folder) }
    try ranks.agree("join the traces") {
      guard ranks.isMain else { return }
      try TraceFile.merge(folder: folder, rankCount: ranks.count, into: file)
    }
  }
}
