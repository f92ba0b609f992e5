import Glibc
import XTunerModels
import XTunerText

/// Writes a safetensors file as a stream: the tensors are declared first, their bytes follow in
/// that order, in pieces of any size.
///
/// The file has its name only after `finish()`; until then it is `NAME.incomplete`, which is
/// removed when writing fails or the writer goes away. One thread at a time may use a writer.
public final class SafetensorsWriter {
  private let file: OutputFile
  private let entries: [SafetensorsEntry]
  private let byteCounts: [Int]
  private var current = 0
  private var writtenByteCount = 0

  /// Starts a file by writing its header.
  ///
  /// - Parameters:
  ///   - path: the final name; a file of that name is replaced by `finish()`.
  ///   - entries: the tensors, in the order in which their bytes will come.
  ///   - metadata: free text pairs of the header.
  ///   - isHashed: whether `finish()` is to return a digest.
  /// - Throws: `CheckpointError` where a declaration is impossible or the file cannot be created.
  public init(
    path: String, entries: [SafetensorsEntry],
    metadata: [String: String] = ["format": "pt"],  // own names
    isHashed: Bool = false
  ) throws(CheckpointError) {
    let header = try Self.header(entries, metadata: metadata, path: path)
    self.entries = entries
    byteCounts = entries.map { $0.byteCount ?? 0 }
    file = try OutputFile(path: path, isHashed: isHashed)
    try Self.write(header, to: file)
    skipEmptyTensors()
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
    if bytes.isEmpty, let entry = entries.first(where: { $0.name.isExactly(name) }),
      entry.byteCount == 0
    {
      return
    }
    guard current < entries.count else {
      throw CheckpointError(.mismatch, path: file.path, "tensor \(name) was not declared")
    }
    let next = entries[current]
    try require(next.name.isExactly(name), "tensor \(name) is written where \(next.name) is next")
    try require(
      writtenByteCount == 0 && bytes.count == byteCounts[current],
      "tensor \(name): \(next.kind) takes \(byteCounts[current]) bytes, got "
        + "\(writtenByteCount + bytes.count)")
    try append(bytes)
  }

  /// Writes the next bytes of the declared tensors, across tensors where a piece ends in another.
  public func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var rest = bytes
    while !rest.isEmpty {
      try require(current < entries.count, "\(rest.count) bytes come after the last tensor")
      let count = min(rest.count, byteCounts[current] - writtenByteCount)
      try file.write(UnsafeRawBufferPointer(rebasing: rest[..<count]))
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      writtenByteCount += count
      if writtenByteCount == byteCounts[current] {
        current += 1
        writtenByteCount = 0
        skipEmptyTensors()
      }
    }
  }

  /// Flushes the file to the device and gives it its name.
  ///
  /// - Returns: the file's size and, if asked for, the SHA-256 of its content in hexadecimal.
  @discardableResult
  public func finish() throws(CheckpointError) -> (byteCount: Int, digest: String) {
    if current < entries.count {
      throw CheckpointError(
        .mismatch, path: file.path,
        "tensor \(entries[current].name): \(byteCounts[current]) bytes were declared, "
          + "\(writtenByteCount) came")
    }
    let summary = try file.finish()
    return (summary.byteCount, summary.digest)
  }

  private func skipEmptyTensors() {
    while current < entries.count && byteCounts[current] == 0 { current += 1 }
  }

  private func require(
    _ condition: Bool, _ reason: @autoclosure () -> String
  ) throws(CheckpointError) {
    guard condition else { throw CheckpointError(.mismatch, path: file.path, reason()) }
  }

  private static func write(_ text: String, to file: OutputFile) throws(CheckpointError) {
    var bytes: [UInt8] = []
    withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: text.utf8)
    let result = bytes.withUnsafeBytes { bytes in
      Result { () throws(CheckpointError) in try file.write(bytes) }
    }
    try result.get()
  }

  /// The JSON, padded with spaces so that the tensors start at a multiple of 8.
  private static func header(
    _ entries: [SafetensorsEntry], metadata: [String: String], path: String  // own names
  ) throws(CheckpointError) -> String {
    var object = JSONObject()
    if !metadata.isEmpty {
      var pairs = JSONObject()
      for key in metadata.keys.sorted() { pairs[key] = metadata[key].map { .string($0) } }
      object[SafetensorsHeader.metadataKey] = .object(pairs)
    }
    var offset = 0
    for entry in entries {
      guard let byteCount = entry.byteCount, offset <= Int.max - byteCount else {
        throw CheckpointError(
          .mismatch, path: path,
          "tensor \(entry.name): \(entry.kind) overflows or does not end on a whole byte")
      }
      guard object[entry.name] == nil, !entry.name.isExactly(SafetensorsHeader.metadataKey) else {
        throw CheckpointError(
          .mismatch, path: path, "tensor \(entry.name) is declared twice, or its name is reserved")
      }
      var member = JSONObject()
      member["dtype"] = .string(entry.dataType.rawValue)
      member["shape"] = .array(entry.shape.map { .integer($0) })
      member["data_offsets"] = .array([.integer(offset), .integer(offset + byteCount)])
      object[entry.name] = .object(member)
      offset += byteCount
    }
    let text = JSONDocument.object(object).compactText()
    return text + String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
  }
}
