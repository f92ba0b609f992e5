import XTunerText

/// A checkpoint that ranks are filling; it has its name only after `commit`.
///
/// When it goes away before, what was written is removed. One thread at a time may use it.
public final class UnfinishedCheckpoint {
  private let store: RunCheckpointStore
  private let transaction: FolderTransaction

  init(store: RunCheckpointStore, transaction: FolderTransaction) {
    self.store = store
    self.transaction = transaction
  }

  /// Joins the parts of all ranks, gives the checkpoint its name and applies retention.
  ///
  /// `contents` give the state; its tensors must have been written as a part.
  ///
  /// - Throws: `CheckpointError` where a part is missing or damaged; then nothing of it is left.
  public func commit(_ contents: RunCheckpointContents, partCount: Int) throws -> RunCheckpoint {
    do {
      try join(contents, partCount: partCount)
    } catch let error as CheckpointError {
      throw FolderTransaction.named(error, transaction.path)
    }
    try transaction.commit()
    let checkpoint = try RunCheckpoint(path: transaction.path)
    try store.applyRetention()
    return checkpoint
  }

  /// Writes the manifest of what the parts have.
  private func join(_ contents: RunCheckpointContents, partCount: Int) throws {
    let partial = transaction.partialPath
    var files: [RunCheckpointManifest.File] = []
    var pieces: [RunCheckpointManifest.Piece] = []
    for index in 0..<partCount {
      let path = "\(partial)/\(RunCheckpointPart.fileName(index))"
      let part = try RunCheckpointJSON.decode(RunCheckpointPart.self, from: path)
      files += part.files
      pieces += part.pieces
      try FileSystem.remove(path)
    }
    files.append(
      try RunCheckpointStore.write(
        contents.state, named: RunCheckpointManifest.stateFileName, to: partial))
    for file in contents.modelFiles {
      guard FileSystem.isPlainName(file.name), !files.contains(where: { $0.name == file.name }),
        !RunCheckpointManifest.reservedNames.contains(file.name)
      else {
        throw CheckpointError(
          .mismatch, path: partial, "\(file.name) is no name for a file of the model")
      }
      files.append(try RunCheckpointStore.write(file.bytes, named: file.name, to: partial))
    }
    let manifest = RunCheckpointManifest(
      formatVersion: RunCheckpointManifest.currentFormatVersion, step: contents.step,
      configurationHash: contents.configurationHash, libraryVersions: contents.libraryVersions,
      files: files, pieces: pieces, modelFiles: contents.modelFiles.map(\.name))
    let written = try RunCheckpointStore.write(
      try RunCheckpointJSON.encode(manifest), named: RunCheckpointManifest.fileName, to: partial)
    _ = try RunCheckpointStore.write(
      Array("\(written.sha256)  \(written.name)\n".utf8),
      named: RunCheckpointManifest.digestFileName, to: partial)
    // Read back before the name is given: pieces and sizes must make a checkpoint.
    _ = try RunCheckpoint(path: partial)
  }

  /// Removes what was written.
  public func discard() { transaction.discard() }
}
