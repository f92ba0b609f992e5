import XTunerModels
import XTunerText

/// Writes a Hugging Face folder as a stream: tensors are declared first, their bytes follow in that
/// order, and shards of bounded size come out, with an index where there are several.
///
/// Everything is written to `FOLDER.incomplete`, which takes its name in `finish()`; a folder that
/// is not whole never has the name. One thread at a time may use a writer.
public final class HFCheckpointWriter {
  /// 4 GiB, a size that common storage and the hub both take.
  public static let defaultShardByteCount = 4 << 30

  private struct Shard {
    var name: String
    var entries: [SafetensorsEntry]
  }

  private let transaction: FolderTransaction
  private let shards: [Shard]
  private let totalByteCount: Int
  private var shardIndex = 0
  private var entryIndex = 0
  private var writer: SafetensorsWriter?

  /// Starts a folder.
  ///
  /// - Parameters:
  ///   - path: the folder; it must not exist, or be empty, unless `overwrites` is true.
  ///   - entries: the tensors, in the order in which their bytes will come.
  ///   - maximumShardByteCount: bytes of tensors after which a new shard starts; a larger tensor
  ///     has a shard of its own.
  ///   - overwrites: whether a folder that is not empty is replaced, as a whole.
  /// - Throws: `CheckpointError` where the folder is in use or the disk is full.
  public init(
    path: String, entries: [SafetensorsEntry],
    maximumShardByteCount: Int = HFCheckpointWriter.defaultShardByteCount, overwrites: Bool = false
  ) throws(CheckpointError) {
    let path = FileSystem.trimmed(path)
    let kind = FileSystem.kind(path)
    if let kind, kind != .folder {
      throw CheckpointError(.occupied, path: path, "exists and is not a folder")
    }
    if kind == .folder && !overwrites, try !FileSystem.names(in: path).isEmpty {
      throw CheckpointError(
        .occupied, path: path, "is not empty; choose another folder or ask to overwrite it")
    }
    (shards, totalByteCount) = try Self.plan(
      entries, maximumShardByteCount: max(maximumShardByteCount, 1), path: path)
    transaction = try FolderTransaction(path: path)
    try startShard()
  }

  /// Writes all bytes of the next tensor.
  ///
  /// - Parameters:
  ///   - bytes: its content, row-major.
  ///   - name: its name, which must be that of the next tensor declared.
  /// - Throws: `CheckpointError` where name or size are not as declared, or the disk is full.
  public func write(
    _ bytes: UnsafeRawBufferPointer, for name: String
  ) throws(CheckpointError) {
    guard let writer else {
      throw CheckpointError(
        .mismatch, path: transaction.path, "tensor \(name) comes after the last one declared")
    }
    let path = transaction.path
    try FolderTransaction.naming(path) { () throws(CheckpointError) in
      try writer.write(bytes, for: name)
    }
    entryIndex += 1
    guard entryIndex == shards[shardIndex].entries.count else { return }
    _ = try FolderTransaction.naming(path) { () throws(CheckpointError) in try writer.finish() }
    self.writer = nil
    shardIndex += 1
    entryIndex = 0
    try startShard()
  }

  /// Writes another file of the folder, such as `config.json` or `tokenizer.json`.
  public func write(_ content: some Sequence<UInt8>, toFile name: String) throws(CheckpointError) {
    guard FileSystem.isPlainName(name) else {
      throw CheckpointError(.mismatch, path: transaction.path, "\(name) is not a plain file name")
    }
    let (path, partialPath) = (transaction.path, transaction.partialPath)
    try FolderTransaction.naming(path) { () throws(CheckpointError) in
      let file = try OutputFile(path: "\(partialPath)/\(name)")
      let result = Array(content).withUnsafeBytes { bytes in
        Result { () throws(CheckpointError) in try file.write(bytes) }
      }
      try result.get()
      _ = try file.finish()
    }
  }

  /// Writes the index, flushes everything to the device and gives the folder its name.
  public func finish() throws(CheckpointError) {
    guard shardIndex == shards.count else {
      let next = shards[shardIndex].entries[entryIndex].name
      throw CheckpointError(
        .mismatch, path: transaction.path, "tensor \(next) was declared and has not come")
    }
    if shards.count > 1 {
      try write(indexText().utf8, toFile: HFCheckpointFolder.indexName)
    }
    try transaction.commit()
  }

  private func startShard() throws(CheckpointError) {
    guard shardIndex < shards.count else { return }
    let shard = shards[shardIndex]
    let (path, partialPath) = (transaction.path, transaction.partialPath)
    writer = try FolderTransaction.naming(path) { () throws(CheckpointError) in
      try SafetensorsWriter(path: "\(partialPath)/\(shard.name)", entries: shard.entries)
    }
  }

  private func indexText() -> String {
    var weightMap = JSONObject()
    for shard in shards {
      for entry in shard.entries { weightMap[entry.name] = .string(shard.name) }
    }
    var metadata = JSONObject()
    metadata["total_size"] = .integer(totalByteCount)
    var object = JSONObject()
    object["metadata"] = .object(metadata)
    object["weight_map"] = .object(weightMap)
    return "\(JSONDocument.object(object).indentedText())\n"
  }

  private static func plan(
    _ entries: [SafetensorsEntry], maximumShardByteCount: Int, path: String
  ) throws(CheckpointError) -> ([Shard], totalByteCount: Int) {
    guard !entries.isEmpty else {
      throw CheckpointError(.mismatch, path: path, "has no tensors to write")
    }
    var names: Set<ExactText> = []
    var groups: [[SafetensorsEntry]] = [[]]
    var groupByteCount = 0
    var totalByteCount = 0
    for entry in entries {
      guard let byteCount = entry.byteCount, totalByteCount <= Int.max - byteCount else {
        throw CheckpointError(
          .mismatch, path: path, "tensor \(entry.name): \(entry.kind) is no possible size")
      }
      guard names.insert(entry.name).inserted else {
        throw CheckpointError(.mismatch, path: path, "tensor \(entry.name) is declared twice")
      }
      let fits = byteCount <= maximumShardByteCount - groupByteCount
      if !fits && !groups[groups.count - 1].isEmpty {
        groups.append([])
        groupByteCount = 0
      }
      groups[groups.count - 1].append(entry)
      groupByteCount += byteCount
      totalByteCount += byteCount
    }
    if groups.count == 1 {
      return ([Shard(name: HFCheckpointFolder.singleName, entries: groups[0])], totalByteCount)
    }
    let digits = { (number: Int) in
      let text = String(number)
      return String(repeating: "0", count: max(5 - text.count, 0)) + text
    }
    let shards = groups.enumerated().map { index, group in
      Shard(
        name: "model-\(digits(index + 1))-of-\(digits(groups.count)).safetensors", entries: group)
    }
    return (shards, totalByteCount)
  }
}
