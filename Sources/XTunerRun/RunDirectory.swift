import Foundation
import Synchronization
public import XTunerConfiguration
import XTunerSystem

/// Where the parts of a run lie, below its directory.
public struct RunLayout: Sendable, Equatable {
  /// The run directory as it was given.
  public let root: String

  /// Describes a run directory, which need not exist.
  public init(root: String) {
    self.root = root
  }

  /// The resolved configuration.
  public var configuration: String { path("config.yaml") }
  /// One line a step.
  public var metrics: String { path("metrics.jsonl") }
  /// The log of rank 0.
  public var log: String { path("log.txt") }
  /// The logs of the ranks other than 0.
  public var logs: String { path("logs") }
  /// The log of a rank other than 0: its events and, under `--nproc`, what it prints.
  public func log(ofRank rank: Int) -> String { path("logs/rank-\(Self.digits(rank)).log") }
  /// The last operations among GPUs of a rank, written when one fails.
  public func operations(ofRank rank: Int) -> String {
    path("logs/operations-\(Self.digits(rank)).json")
  }
  /// The timelines of traced steps, one file a rank.
  public var traces: String { path("traces") }
  /// The timelines of all ranks in one file.
  public var trace: String { path("trace.json") }
  /// Held while a process trains here.
  public var lock: String { path("run.lock") }
  /// The checkpoints, one folder each.
  public var checkpoints: String { path("checkpoints") }
  /// The Hugging Face folder of the trained model.
  public var export: String { path("export") }
  /// TensorBoard's event files.
  public var tensorboard: String { path("tensorboard") }
  /// The loss curve.
  public var lossChart: String { path("loss.svg") }

  private static func digits(_ rank: Int) -> String {
    let digits = String(rank)
    return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  private func path(_ name: String) -> String {
    root.hasSuffix("/") ? "\(root)\(name)" : "\(root)/\(name)"
  }
}

/// A run directory that this process owns until the value is destroyed.
///
/// Ownership is an advisory lock (`flock`) on `run.lock`, which the kernel releases however the
/// process ends; a lock file that merely lies around locks nothing. A directory whose run never
/// began, since it was refused, goes away with the value as far as this value made it.
public final class RunDirectory: Sendable {
  /// Where everything lies.
  public let layout: RunLayout
  private let lockDescriptor: Int32
  /// The directory itself, whatever its name is by now.
  private let descriptor: Int32
  /// Folders that were not there before, outermost first.
  private let madeFolders: [String]
  private let madeRoot: Bool
  private let madeLock: Bool
  private let isBegun = Atomic<Bool>(false)

  /// Makes the directory if needed, with a folder for logs where there are several ranks, and takes
  /// its lock.
  ///
  /// - Throws: ``RunDirectoryError`` when another process holds it (the message names the process)
  ///   or when nothing can be written there.
  public init(path: String, rankCount: Int = 1) throws(RunDirectoryError) {
    layout = RunLayout(root: path)
    var made = try Self.makeFolders(path)
    madeRoot = !made.isEmpty
    if rankCount > 1 { made += try Self.makeFolders(layout.logs) }
    madeFolders = made
    do throws(RunDirectoryError) {
      (lockDescriptor, madeLock) = try Self.takeLock(layout)
    } catch {
      for folder in made.reversed() { rmdir(folder) }
      throw error
    }
    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      let failure = errno
      close(lockDescriptor)
      throw .system(path: path, action: "open the run directory", errorNumber: failure)
    }
  }

  deinit {
    if !isBegun.load(ordering: .relaxed) { removeTraces() }
    // Closing the descriptor releases the lock.
    close(lockDescriptor)
    close(descriptor)
  }

  /// Checks that the directory's name still leads to it: before a file is made by name.
  ///
  /// Otherwise the run would go on in a new directory of that name, and lie in two halves.
  ///
  /// - Throws: ``RunDirectoryError``, `moved`.
  package func checkIsInPlace() throws(RunDirectoryError) {
    var (own, found) = (stat(), stat())
    guard fstat(descriptor, &own) == 0, stat(layout.root, &found) == 0, own.st_dev == found.st_dev,
      own.st_ino == found.st_ino
    else {
      throw .init(
        code: .moved, path: layout.root,
        reason: """
          is no longer the directory that the run writes to: it was renamed, removed or replaced \
          meanwhile; give it its name back, and the same command goes on from its newest checkpoint
          """)
    }
  }

  /// Checks that nothing lies in the way of what is written when training has ended.
  ///
  /// - Throws: ``RunDirectoryError`` that names a file where a folder is to be, or the other way round.
  package func checkPlaces() throws(RunDirectoryError) {
    let places = [
      (layout.checkpoints, isFolder: true), (layout.export, true), (layout.tensorboard, true),
      (layout.traces, true), (layout.lossChart, false), (layout.trace, false),
      (layout.metrics, false), (layout.configuration, false),
    ]
    for (path, isFolder) in places {
      var status = stat()
      guard stat(path, &status) == 0 else { continue }
      guard (status.st_mode & S_IFMT == S_IFDIR) != isFolder else { continue }
      throw .init(
        code: .unwritable, path: path,
        reason: """
          is \(isFolder ? "no folder, and the run will write one" : "a folder, and the run will write a file") \
          there; move it away
          """)
    }
  }

  /// Writes `config.yaml`, replacing an earlier one as a whole; with it the run has begun.
  public func write(_ configuration: RunConfiguration) throws(RunDirectoryError) {
    try FileWriting.replace(layout.configuration, with: configuration.yaml(commented: true).utf8)
    isBegun.store(true, ordering: .relaxed)
  }

  /// Writes a file of the run as a whole: after a kill there is the old file or the new one.
  ///
  /// - Parameters:
  ///   - text: The whole contents.
  ///   - path: A path of ``layout``.
  /// - Throws: ``RunDirectoryError`` when there is no space or no permission.
  public func write(_ text: String, to path: String) throws(RunDirectoryError) {
    try FileWriting.replace(path, with: text.utf8)
  }

  /// Makes a folder and those above it; those that were not there, outermost first.
  @discardableResult
  package static func makeFolders(_ path: String) throws(RunDirectoryError) -> [String] {
    var made: [String] = []
    if let failure = Folders.make(path, made: &made) {
      for folder in made.reversed() { rmdir(folder) }
      throw .system(path: path, action: "make the run directory", errorNumber: failure)
    }
    return made
  }

  /// Removes what a run leaves that was refused; what has content stays, and folders with it.
  private func removeTraces() {
    if madeLock { unlink(layout.lock) }
    let logs = (try? FileManager.default.contentsOfDirectory(atPath: layout.logs)) ?? []
    for path in [layout.log, layout.metrics] + logs.map({ "\(layout.logs)/\($0)" }) {
      var status = stat()
      if stat(path, &status) == 0, status.st_size == 0 { unlink(path) }
    }
    // In a folder that was not there before, the curves are this process's.
    if madeRoot { try? FileManager.default.removeItem(atPath: layout.tensorboard) }
    for folder in madeFolders.reversed() { rmdir(folder) }
  }

  /// The lock's descriptor, and whether its file was not there before.
  private static func takeLock(
    _ layout: RunLayout
  ) throws(RunDirectoryError) -> (descriptor: Int32, isNew: Bool) {
    let isNew = access(layout.lock, F_OK) != 0
    let descriptor = open(layout.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw .system(
        path: layout.root, action: "write in the run directory", errorNumber: errno)
    }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      if errno == EINTR { continue }
      let failure = errno
      close(descriptor)
      guard failure == EWOULDBLOCK else {
        throw .system(path: layout.lock, action: "lock", errorNumber: failure)
      }
      throw .init(
        code: .inUse, path: layout.root,
        reason: "is in use by \(owner(layout.lock)); wait for it, or set another run.directory")
    }
    // One that was refused may have removed the file between opening and locking.
    var (own, current) = (stat(), stat())
    guard fstat(descriptor, &own) == 0, stat(layout.lock, &current) == 0,
      own.st_ino == current.st_ino
    else {
      close(descriptor)
      return try takeLock(layout)
    }
    let owner = "\(getpid()) \(ProcessInfo.processInfo.hostName)\n"
    guard ftruncate(descriptor, 0) == 0,
      WholeWrite.write(Array(owner.utf8), to: descriptor) == nil
    else {
      let failure = errno
      close(descriptor)
      throw .system(path: layout.lock, action: "write", errorNumber: failure)
    }
    return (descriptor, isNew)
  }

  /// The process that a lock file names, in words.
  private static func owner(_ path: String) -> String {
    let contents = FileManager.default.contents(atPath: path) ?? Data()
    let parts = String(decoding: contents, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    guard let pid = parts.first, Int(pid) != nil else { return "another process" }
    return parts.count > 1 ? "process \(pid) on \(parts[1])" : "process \(pid)"
  }
}
