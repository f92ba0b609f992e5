import Foundation
import XTunerCheckpoint
import XTunerTokenizers

/// Safetensors files with faults in header and data.
struct SafetensorsReader: MutatedReader {
  static let name = "safetensors"
  private let path: String
  private let bytes: [UInt8]
  private let headerSize: Int

  init(folder: String) throws {
    try makeFolder(folder)
    path = "\(folder)/model.safetensors"
    let entries: [SafetensorsEntry] = [
      .init(name: "a.weight", dataType: .float32, shape: [7, 5]),
      .init(name: "b", dataType: .bfloat16, shape: [11]),
      .init(name: "c", dataType: .int64, shape: []),
      .init(name: "d", dataType: .uint8, shape: [3, 0]),
    ]
    try write(entries, to: path)
    bytes = try readFile(path)
    headerSize = Int(bytes[0]) | Int(bytes[1]) << 8
  }

  func runCase(_ random: inout Random) throws {
    var changed = bytes
    if random.happens(oneIn: 3) {
      changed = random.mutated(bytes)
    } else {
      let header = try JSONValue(
        parsing: String(decoding: bytes[8..<(8 + headerSize)], as: UTF8.self))
      let text = Array(random.mutated(header).text(style: .compact).utf8)
      changed = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
      changed += bytes[(8 + headerSize)...]
    }
    try writeFile(changed, to: path)
    let file = try SafetensorsFile(path: path)
    var sum = 0
    for entry in file.entries {
      let (dataType, shape, range) = try file.entry(entry.name)
      guard range.lowerBound >= 8, range.upperBound <= changed.count,
        dataType.byteCount(shape: shape) == range.count
      else { throw MutationFailure("\(entry.name) \(shape) lies at \(range) of \(changed.count)") }
      sum += try file.withBytes(of: entry.name) { $0.reduce(0) { $0 &+ Int($1) } }
    }
    guard sum >= 0 else { throw MutationFailure("unreachable sum") }
  }
}

/// Run checkpoints with a fault in any of their files: none may be taken for what was written.
struct CheckpointReader: MutatedReader {
  static let name = "checkpoint"

  private struct State: Codable, Equatable {
    var step = 3
    var rate = 0.25
  }

  private let folder: String
  private let files: [String: [UInt8]]

  init(folder: String) throws {
    let store = RunCheckpointStore(folder: folder)
    let entry = SafetensorsEntry(name: "unit", dataType: .float32, shape: [23])
    let tensor = CheckpointTensor(entry: entry, bytes: (0..<92).map { UInt8($0) })
    let piece = RunCheckpointManifest.Piece(
      unit: "unit", parameter: "unit.weight", file: "weights-00000.safetensors", tensor: "unit",
      offset: 0, length: 23, dataType: .float32)
    let contents = try RunCheckpointContents(
      step: 3, files: [.init(name: "weights-00000.safetensors", tensors: [tensor])],
      pieces: [piece], state: State(), configurationHash: "c0ffee",
      libraryVersions: ["libtorch": "2.11.0"])
    self.folder = try store.write(contents).path
    var files: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: self.folder) {
      files[name] = try readFile("\(self.folder)/\(name)")
    }
    self.files = files
  }

  func runCase(_ random: inout Random) throws {
    let name = random.pick(files.keys.sorted())
    let bytes = files[name] ?? []
    let changed =
      name.hasSuffix(".json") && random.happens(oneIn: 2)
      ? Array(
        random.mutated(try JSONValue(parsing: String(decoding: bytes, as: UTF8.self)))
          .text(style: .compact).utf8)
      : random.mutated(bytes)
    defer { try? writeFile(bytes, to: "\(folder)/\(name)") }
    try writeFile(changed, to: "\(folder)/\(name)")
    let checkpoint = try RunCheckpoint(path: folder)
    try checkpoint.verify()
    let state = try checkpoint.state(as: State.self)
    for piece in checkpoint.manifest.pieces {
      let file = try checkpoint.open(piece.file)
      let (_, shape, _) = try file.entry(piece.tensor)
      _ = piece.runs(shape: shape)
    }
    guard changed != bytes else { return }
    throw MutationFailure("\(name) was changed and the checkpoint is taken, with \(state)")
  }
}

private func write(_ entries: [SafetensorsEntry], to path: String) throws {
  let writer = try SafetensorsWriter(path: path, entries: entries)
  for entry in entries {
    let bytes = (0..<(entry.byteCount ?? 0)).map { UInt8(truncatingIfNeeded: $0 * 7) }
    try bytes.withUnsafeBytes { try writer.write($0, for: entry.name) }
  }
  _ = try writer.finish()
}
