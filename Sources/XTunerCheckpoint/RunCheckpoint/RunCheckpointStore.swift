import XTunerText

/// The checkpoints of a run: a folder of folders named `step-00000123`.
///
/// Which one is the latest follows from the manifests alone. Several processes may read; one
/// writes.
public struct RunCheckpointStore: Sendable, Hashable {
  /// A folder that looks like a checkpoint and is not one.
  public struct Rejection: Sendable, Hashable {
    /// The folder.
    public var path: String
    /// The step that its name says.
    public var step: Int
    /// Why it is not a checkpoint.
    public var error: CheckpointError
  }

  /// Added to a folder that is set aside because it is no whole checkpoint.
  public static let damagedSuffix = ".damaged"
  /// Added to a checkpoint that retention is removing.
  private static let removedSuffix = ".removed"

  /// Where the checkpoints are.
  public let folder: String
  /// How many are left by retention; nil where all are.
  public let retainedCount: Int?

  /// A store in a folder, which need not exist yet; the one that holds it must, to write.
  ///
  /// - Parameters:
  ///   - folder: where the checkpoints are, such as `RUN/checkpoints`.
  ///   - retainedCount: how many of the newest are left after writing one, at least 1; those that
  ///     are kept by mark do not count. Nil leaves all.
  public init(folder: String, retainedCount: Int? = nil) {
    precondition(retainedCount ?? 1 >= 1, "retainedCount must be at least 1")
    self.folder = FileSystem.trimmed(folder)
    self.retainedCount = retainedCount
  }

  /// The folder of a step's checkpoint.
  public func path(step: Int) -> String {
    let digits = String(step)
    return "\(folder)/step-\(String(repeating: "0", count: max(8 - digits.count, 0)))\(digits)"
  }

  /// Every complete checkpoint, oldest first, and what looks like one without being complete.
  ///
  /// - Throws: `CheckpointError` where the folder cannot be listed, also where it is a link to what is
  ///   not there; a folder that does not exist holds nothing.
  public func scan() throws(CheckpointError) -> (complete: [RunCheckpoint], rejected: [Rejection]) {
    if FileSystem.isDanglingLink(folder) {
      throw CheckpointError(
        .missing, path: folder,
        "is a link to what is not there; is the disk of the checkpoints mounted?")
    }
    var complete: [RunCheckpoint] = []
    var rejected: [Rejection] = []
    for name in try FileSystem.names(in: folder) {
      guard let step = Self.step(of: name) else { continue }
      let path = "\(folder)/\(name)"
      do throws(CheckpointError) {
        let checkpoint = try RunCheckpoint(path: path)
        guard checkpoint.step == step else {
          throw CheckpointError(
            .mismatch, path: path, "is named for step \(step), its manifest says \(checkpoint.step)"
          )
        }
        complete.append(checkpoint)
      } catch {
        rejected.append(Rejection(path: path, step: step, error: error))
      }
    }
    return (complete.sorted { $0.step < $1.step }, rejected)
  }

  /// The newest complete checkpoint, or nil where there is none; what is not complete counts as none.
  public func latestComplete() throws(CheckpointError) -> RunCheckpoint? {
    try scan().complete.last
  }

  /// The checkpoint that a run goes on from, or nil where there is none; and the older folders that
  /// look like checkpoints and are not complete.
  ///
  /// - Throws: `CheckpointError` naming every folder that is newer and is not complete: what it held
  ///   would be trained again without a word.
  public func newest() throws(CheckpointError) -> (checkpoint: RunCheckpoint?, older: [Rejection]) {
    let (complete, rejected) = try scan()
    let isNewer = { (rejection: Rejection) in rejection.step > complete.last?.step ?? -1 }
    let newer = rejected.filter(isNewer)
    guard newer.isEmpty else {
      let what = newer.count == 1 ? "a checkpoint is" : "\(newer.count) checkpoints are"
      let named = newer.map(\.error.description).joined(separator: "; ")
      let whole = complete.last.map { "the newest whole one is \($0.path)" } ?? "none is whole"
      throw CheckpointError(.damaged, path: folder, "\(what) damaged: \(named); \(whole)")
    }
    return (complete.last, rejected)
  }

  /// Renames a folder that is no whole checkpoint, so that it is in nobody's way and nothing is lost.
  public func setAside(_ rejection: Rejection) throws(CheckpointError) {
    let aside = rejection.path + Self.damagedSuffix
    try FileSystem.remove(aside)
    try FileSystem.rename(rejection.path, to: aside)
  }

  /// Removes what dead writers left behind; what a living one is writing is not touched.
  ///
  /// A checkpoint that was about to be replaced gets its name back.
  ///
  /// - Returns: the folders concerned, by their final names.
  @discardableResult
  public func removeLeftovers() throws(CheckpointError) -> [String] {
    var concerned: [String] = []
    var seen: Set<ExactText> = []
    for name in try FileSystem.names(in: folder) {
      if name.hasSuffix(Self.removedSuffix),
        Self.step(of: String(name.dropLast(Self.removedSuffix.count))) != nil
      {
        try FileSystem.remove("\(folder)/\(name)")
      }
      for suffix in [FolderTransaction.partialSuffix, FolderTransaction.replacedSuffix]
      where name.hasSuffix(suffix) {
        let base = String(name.dropLast(suffix.count))
        guard Self.step(of: base) != nil, seen.insert(base).inserted else { continue }
        let path = "\(folder)/\(base)"
        if try FolderTransaction.recover(path: path) { concerned.append(path) }
      }
    }
    return concerned
  }

  /// Writes a checkpoint, then applies retention.
  ///
  /// The calling thread does all the work.
  ///
  /// - Throws: `CheckpointError` where it cannot be written, as on a full disk; then nothing of it
  ///   is left, and the earlier checkpoints are as they were.
  @discardableResult
  public func write(_ contents: RunCheckpointContents) throws -> RunCheckpoint {
    let checkpoint = try begin(step: contents.step)
    try writePart(contents, index: 0)
    return try checkpoint.commit(contents, partCount: 1)
  }

  /// Writes one rank's tensors of a checkpoint that another process, or this one, has begun.
  ///
  /// - Throws: `CheckpointError` where they cannot be written; then no part is there, and the
  ///   checkpoint cannot be committed.
  public func writePart(_ contents: RunCheckpointContents, index: Int) throws {
    let path = path(step: contents.step)
    let partial = FolderTransaction.partialPath(path)
    guard FileSystem.kind(partial) == .folder else {
      throw CheckpointError(
        .missing, path: path,
        "was not found; all ranks must see the run's directory (a shared file system)")
    }
    do {
      var files: [RunCheckpointManifest.File] = []
      for file in contents.files { files.append(try Self.write(file, to: partial)) }
      let part = RunCheckpointPart(files: files, pieces: contents.pieces)
      _ = try Self.write(
        try RunCheckpointJSON.encode(part), named: RunCheckpointPart.fileName(index), to: partial)
    } catch let error as CheckpointError {
      throw FolderTransaction.named(error, path)
    }
  }

  /// Begins a checkpoint; to be committed by the process that began it.
  public func begin(step: Int) throws(CheckpointError) -> UnfinishedCheckpoint {
    guard step >= 0 else {
      throw CheckpointError(.mismatch, path: folder, "step must not be negative")
    }
    // Not the folders above it: a run's directory that has gone must not come back as an empty one.
    try FileSystem.makeLastFolder(folder)
    return UnfinishedCheckpoint(
      store: self, transaction: try FolderTransaction(path: path(step: step)))
  }

  /// Removes the oldest complete checkpoints above the retained count.
  ///
  /// The newest and those marked as kept always stay; folders that are not complete are not
  /// touched.
  ///
  /// - Returns: the folders removed.
  @discardableResult
  public func applyRetention() throws(CheckpointError) -> [String] {
    guard let retainedCount else { return [] }
    let candidates = try scan().complete.filter { !$0.isKept }
    let newest = try latestComplete()?.path
    var removed: [String] = []
    for checkpoint in candidates.dropLast(retainedCount) where checkpoint.path != newest {
      // Renamed first, so that a half removed one is never taken for whole.
      let doomed = checkpoint.path + Self.removedSuffix
      try FileSystem.remove(doomed)
      try FileSystem.rename(checkpoint.path, to: doomed)
      try FileSystem.remove(doomed)
      removed.append(checkpoint.path)
    }
    return removed
  }

  private static func step(of name: String) -> Int? {
    let prefix = "step-"
    let digits = name.dropFirst(prefix.count)
    guard name.hasPrefix(prefix), digits.count >= 8,
      digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= $0 })
    else { return nil }
    return Int(digits)
  }

  private static func write(
    _ file: RunCheckpointContents.File, to folder: String
  ) throws -> RunCheckpointManifest.File {
    guard FileSystem.isPlainName(file.name),
      !RunCheckpointManifest.reservedNames.contains(file.name)
    else {
      throw CheckpointError(.mismatch, path: folder, "\(file.name) is no name for a tensor file")
    }
    let writer = try SafetensorsWriter(
      path: "\(folder)/\(file.name)", entries: file.tensors.map(\.entry), isHashed: true)
    for tensor in file.tensors {
      try tensor.bytes.withBytes { try writer.write($0, for: tensor.entry.name) }
    }
    let summary = try writer.finish()
    return RunCheckpointManifest.File(
      name: file.name, byteCount: summary.byteCount, sha256: summary.digest)
  }

  static func write(
    _ bytes: [UInt8], named name: String, to folder: String
  ) throws -> RunCheckpointManifest.File {
    let file = try OutputFile(path: "\(folder)/\(name)", isHashed: true)
    try bytes.withUnsafeBytes { try file.write($0) }
    let summary = try file.finish()
    return RunCheckpointManifest.File(
      name: name, byteCount: summary.byteCount, sha256: summary.digest)
  }
}
