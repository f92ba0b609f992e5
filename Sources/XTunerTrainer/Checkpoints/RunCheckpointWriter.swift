import Foundation
import Synchronization
import Torch
import XTunerCheckpoint
import XTunerLaunch
import XTunerParallel

/// Writes checkpoints in the background, each rank its own part, and gives them their name once all
/// parts are on the disk.
///
/// `submit`, `poll` and `wait` are called by all ranks together, since they agree there. An error of
/// the background appears in the next of these calls, on every rank; the checkpoint is removed then.
final class RunCheckpointWriter {
  /// How far this rank is with the checkpoint under way.
  private enum Phase: Double {
    case idle, writing, written, committing, failed
  }

  private struct State {
    var phase = Phase.idle
    var error: (any Error)?
  }

  /// What the background thread and this one share.
  private final class Progress: Sendable {
    let state = Mutex(State())
    let queue = DispatchQueue(label: "xtuner.checkpoint-writer", qos: .utility)

    /// Runs `body` in the background, in the order of calls.
    func start(_ first: Phase, then last: Phase, _ body: @escaping @Sendable () throws -> Void) {
      state.withLock { $0.phase = first }
      queue.async {
        do {
          try body()
          self.state.withLock { $0.phase = last }
        } catch {
          self.state.withLock { $0 = State(phase: .failed, error: error) }
        }
      }
    }
  }

  private let store: RunCheckpointStore
  private let mesh: ProcessMesh
  private let progress = Progress()
  private var unfinished: UnfinishedCheckpoint?
  private var contents: RunCheckpointContents?
  private var stepUnderWay: Int?
  private let hasWritten: (_ step: Int) throws -> Void

  /// A writer that has nothing to do yet.
  ///
  /// `hasWritten` is called on every rank, inside one of the calls below, when a checkpoint has its
  /// name.
  init(
    store: RunCheckpointStore, mesh: ProcessMesh,
    hasWritten: @escaping (_ step: Int) throws -> Void = { _ in }
  ) {
    self.store = store
    self.mesh = mesh
    self.hasWritten = hasWritten
  }

  /// Hands a checkpoint over, after the one before is whole.
  ///
  /// Where it does not displace older ones, retention waits for the next that does.
  func submit(_ contents: RunCheckpointContents, displacesOlder: Bool = true) throws {
    try wait()
    let store = displacesOlder ? store : RunCheckpointStore(folder: store.folder)
    guard mesh.world.size > 1 else {
      stepUnderWay = contents.step
      progress.start(.writing, then: .idle) { try store.write(contents) }
      return
    }
    try begin(contents.step, in: store)
    stepUnderWay = contents.step
    self.contents = contents
    let index = mesh.rank
    progress.start(.writing, then: .written) { try store.writePart(contents, index: index) }
  }

  /// Looks how far the ranks are, without waiting; once a step.
  func poll() throws { _ = try advance() }

  /// Waits until everything that was handed over is on the disk, under its name.
  func wait() throws {
    // Ranks meet often here, so that one that writes for long keeps no other in a collective.
    while try !advance() { Thread.sleep(forTimeInterval: 0.01) }
  }

  /// Rank 0 makes the folder that all write to.
  private func begin(_ step: Int, in store: RunCheckpointStore) throws {
    unfinished = try mesh.world.agree("begin a checkpoint") {
      mesh.rank == 0 ? try store.begin(step: step) : nil
    }
  }

  /// Goes on where all ranks are ready; true when nothing is under way on any.
  private func advance() throws -> Bool {
    let phase = progress.state.withLock { $0.phase }
    let phases = try mesh.world.gatherValues([phase.rawValue], label: "checkpoint")
      .map { Phase(rawValue: $0[0]) ?? .failed }
    if phases.contains(.failed) { try giveUp() }
    if phases.allSatisfy({ $0 == .written }) { commit() }
    guard phases.allSatisfy({ $0 == .idle }) else { return false }
    if let step = stepUnderWay {
      stepUnderWay = nil
      try hasWritten(step)
    }
    return true
  }

  /// Removes what the ranks have written, and throws on all of them.
  private func giveUp() throws {
    progress.queue.sync {}
    let error = progress.state.withLock { state in
      defer { state = State() }
      return state.error
    }
    // Ranks meet first: no other writes any more when rank 0 removes the folder.
    defer {
      unfinished?.discard()
      (unfinished, contents, stepUnderWay) = (nil, nil, nil)
    }
    try mesh.world.agree("write a checkpoint") { if let error { throw error } }
  }

  private func commit() {
    guard mesh.rank == 0, let unfinished, let contents else {
      progress.state.withLock { $0.phase = .idle }
      self.contents = nil
      return
    }
    // Handed over: this thread touches it no more unless the queue has ended.
    nonisolated(unsafe) let folder = unfinished
    let count = mesh.world.size
    progress.start(.committing, then: .idle) { _ = try folder.commit(contents, partCount: count) }
    self.contents = nil
    self.unfinished = nil
  }
}
