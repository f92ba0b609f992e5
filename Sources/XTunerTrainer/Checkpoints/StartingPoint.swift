import XTunerCheckpoint
import XTunerRun

/// Where a run starts: from a checkpoint, or anew where there never was one.
struct StartingPoint {
  /// Nil for a new run.
  let checkpoint: RunCheckpoint?
  /// What a person should know, such as folders that are no checkpoints.
  let notes: [String]

  /// Looks for the checkpoint.
  ///
  /// One rank `cleans`: it removes what dead writers left, and sets damaged folders aside where the
  /// run is told to go on without them.
  ///
  /// - Throws: `TrainingError` where going on would lose steps without a word, or mix two histories;
  ///   `CheckpointError` where a checkpoint that was named cannot be read.
  static func find(
    _ resume: ResumePolicy, store: RunCheckpointStore, layout: RunLayout, cleans: Bool
  ) throws -> StartingPoint {
    if cleans { _ = try store.removeLeftovers() }
    switch resume {
    case .automatic:
      let found = try newest(in: store)
      if found.checkpoint == nil { try checkThatNoneWasWritten(layout) }
      return StartingPoint(
        checkpoint: found.checkpoint, notes: found.older.map { "passed over: \($0.error)" })
    case .never:
      if let newest = try newest(in: store).checkpoint {
        throw TrainingError(
          .storage,
          """
          \(layout.root): holds a run at step \(newest.step); choose another run.name or \
          run.directory, or resume it with --resume auto
          """)
      }
      return StartingPoint(checkpoint: nil, notes: [])
    case .anew:
      let (complete, damaged) = try store.scan()
      if let newest = complete.last {
        throw TrainingError(
          .storage,
          """
          \(layout.root): holds a whole checkpoint of step \(newest.step), with which a run that \
          begins anew would mix; set another run.directory, or remove \(store.folder)
          """)
      }
      return StartingPoint(
        checkpoint: nil, notes: try setAside(damaged, in: store, cleans: cleans))
    case .checkpoint(let path):
      let named = try RunCheckpoint(path: path)
      let (complete, damaged) = try store.scan()
      if let newest = complete.last, newest.step > named.step {
        throw TrainingError(
          .storage,
          """
          \(path): is at step \(named.step), but \(layout.root) goes on to step \(newest.step): \
          two histories would mix there; start the branch elsewhere with --set run.directory=DIR
          """)
      }
      let newer = damaged.filter { $0.step > named.step }
      return StartingPoint(
        checkpoint: named, notes: try setAside(newer, in: store, cleans: cleans))
    }
  }

  private static func newest(
    in store: RunCheckpointStore
  ) throws -> (checkpoint: RunCheckpoint?, older: [RunCheckpointStore.Rejection]) {
    do throws(CheckpointError) {
      return try store.newest()
    } catch {
      guard error.code == .damaged else { throw error }
      throw TrainingError(
        .model,
        """
        \(error); to go on without what is damaged, name a whole checkpoint with --resume, or begin \
        at step 0 with --resume anew
        """)
    }
  }

  /// An empty folder is no new run where the log says that a checkpoint was there.
  private static func checkThatNoneWasWritten(_ layout: RunLayout) throws {
    guard let step = RunLog.lastCheckpointStep(inLog: layout.log) else { return }
    throw TrainingError(
      .model,
      """
      \(layout.checkpoints): holds no checkpoint, but \(layout.log) says that one of step \(step) was \
      written; is its disk mounted? To begin at step 0 all the same, use --resume anew
      """)
  }

  private static func setAside(
    _ damaged: [RunCheckpointStore.Rejection], in store: RunCheckpointStore, cleans: Bool
  ) throws -> [String] {
    try damaged.map { rejection in
      if cleans { try store.setAside(rejection) }
      return "set aside as \(rejection.path)\(RunCheckpointStore.damagedSuffix): \(rejection.error)"
    }
  }
}
