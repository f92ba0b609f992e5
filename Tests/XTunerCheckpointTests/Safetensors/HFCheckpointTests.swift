import Foundation
import Testing
import XTunerModels

@testable import XTunerCheckpoint

@Suite struct HFCheckpointTests {
  private let folder: TemporaryFolder
  private let entries = (0..<7).map {
    SafetensorsEntry(name: "layer.\($0)", dataType: .bfloat16, shape: [$0 + 2, 5])
  }

  init() throws { folder = try TemporaryFolder() }

  private func content(_ entry: SafetensorsEntry) -> [UInt8] {
    (0..<(entry.byteCount ?? 0)).map { UInt8(truncatingIfNeeded: $0 &+ entry.shape[0] &* 17) }
  }

  @discardableResult
  private func write(_ name: String, shardByteCount: Int, overwrites: Bool = false) throws
    -> HFCheckpointFolder
  {
    let writer = try HFCheckpointWriter(
      path: folder.file(name), entries: entries, maximumShardByteCount: shardByteCount,
      overwrites: overwrites)
    for entry in entries {
      try content(entry).withUnsafeBytes { try writer.write($0, for: entry.name) }
    }
    try writer.write("{}\n".utf8, toFile: "config.json")
    try writer.finish()
    return try HFCheckpointFolder(path: folder.file(name))
  }

  /// The message a folder is refused with.
  private func refusal(_ name: String) -> CheckpointError? {
    #expect(throws: CheckpointError.self) { try HFCheckpointFolder(path: folder.file(name)) }
  }

  @Test(arguments: [1, 60, 100, 150, 349, 350, 1 << 30])
  func whatIsWrittenReadsBackAtEveryShardSize(shardByteCount: Int) throws {
    let found = try write("out", shardByteCount: shardByteCount)
    #expect(found.entries == entries)
    for entry in entries {
      let file = try found.file(of: entry.name)
      #expect(try file.withBytes(of: entry.name) { Array($0) } == content(entry))
    }
    for file in found.files where file.entries.count > 1 {
      #expect(file.entries.reduce(0) { $0 + ($1.byteCount ?? 0) } <= shardByteCount)
    }
    #expect(try folder.names == ["out"])
    let isSingle = shardByteCount >= 350
    #expect(try TestFolder(folder.file("out")).names.contains("model.safetensors") == isSingle)
    #expect(found.unusedFileNames.isEmpty)
  }

  @Test func theIndexSaysTotalSizeAndPlaces() throws {
    try write("out", shardByteCount: 200)
    let text = try folder.read("out/model.safetensors.index.json")
    let index = try #require(try JSONDocument(parsing: text).object)
    #expect(index["metadata"]?.object?["total_size"] == .integer(350))
    #expect(
      index["weight_map"]?.object?["layer.6"] == .string("model-00002-of-00002.safetensors"))
    #expect(index["weight_map"]?.object?.count == 7)
  }

  @Test func aFolderThatIsNotEmptyIsReplacedOnlyOnRequest() throws {
    try write("out", shardByteCount: 100)
    _ = try folder.write([1], to: "out/extra.bin")
    let error = #expect(throws: CheckpointError.self) { try write("out", shardByteCount: 1 << 20) }
    #expect(error?.code == .occupied)
    try write("out", shardByteCount: 1 << 20, overwrites: true)
    #expect(try TestFolder(folder.file("out")).names == ["config.json", "model.safetensors"])
    #expect(try folder.names == ["out"])
    try FileManager.default.createDirectory(
      atPath: folder.file("empty"), withIntermediateDirectories: true)
    try write("empty", shardByteCount: 100)
    _ = try folder.write([1], to: "file")
    #expect(throws: CheckpointError.self) { try write("file", shardByteCount: 1, overwrites: true) }
  }

  @Test func anUnfinishedWriterLeavesTheOldFolder() throws {
    let old = try write("out", shardByteCount: 100).entries
    do {
      let writer = try HFCheckpointWriter(
        path: folder.file("out"), entries: entries, overwrites: true)
      try content(entries[0]).withUnsafeBytes { try writer.write($0, for: entries[0].name) }
      let error = #expect(throws: CheckpointError.self) { try writer.finish() }
      #expect(error?.reason == "tensor layer.1 was declared and has not come")
    }
    #expect(try folder.names == ["out"])
    #expect(try HFCheckpointFolder(path: folder.file("out")).entries == old)
  }

  @Test func aSecondWriterIsRefusedAndADeadOnesFilesAreRemoved() throws {
    try FileManager.default.createDirectory(
      atPath: folder.file("out.incomplete"), withIntermediateDirectories: true)
    _ = try folder.write([1, 2], to: "out.incomplete/model-00009-of-00009.safetensors")
    let first = try HFCheckpointWriter(path: folder.file("out"), entries: entries)
    let error = #expect(throws: CheckpointError.self) {
      try HFCheckpointWriter(path: folder.file("out"), entries: entries)
    }
    #expect(error?.code == .occupied)
    for entry in entries {
      try content(entry).withUnsafeBytes { try first.write($0, for: entry.name) }
    }
    try first.finish()
    #expect(try TestFolder(folder.file("out")).names == ["model.safetensors"])
  }

  @Test func refusesFoldersWithoutWeights() throws {
    #expect(refusal("absent")?.reason == "is not a folder")
    try write("out", shardByteCount: 1 << 20)
    try FileManager.default.removeItem(atPath: folder.file("out/model.safetensors"))
    #expect(refusal("out")?.reason.hasPrefix("has no weights") == true)
  }

  @Test func namesAbsentShardsAndTensors() throws {
    try write("out", shardByteCount: 100)
    try FileManager.default.moveItem(
      atPath: folder.file("out/model-00002-of-00005.safetensors"), toPath: folder.file("moved"))
    let absent = refusal("out")
    #expect(absent?.code == .missing)
    #expect(absent?.reason.contains("model-00002-of-00005.safetensors") == true)
    try FileManager.default.moveItem(
      atPath: folder.file("moved"), toPath: folder.file("out/model-00002-of-00005.safetensors"))
    let path = "out/model.safetensors.index.json"
    let text = String(decoding: try folder.read(path), as: UTF8.self)

    _ = try folder.write(text.replacing("layer.6", with: "layer.8").utf8, to: path)
    #expect(refusal("out")?.reason.contains("tensor layer.8 should be in") == true)
    _ = try folder.write(
      text.replacing(
        "\"layer.0\": \"model-00001", with: "\"layer.0\": \"model-00002"
      ).utf8, to: path)
    #expect(refusal("out")?.reason.contains("it is in model-00001-of-00005") == true)
    _ = try folder.write(
      text.replacing("    \"layer.0\": \"model-00001-of-00005.safetensors\",\n", with: "").utf8,
      to: path)
    #expect(refusal("out")?.reason == "does not name tensor layer.0, which a shard holds")
    _ = try folder.write(
      text.replacing("\"model-00001-of-00005", with: "\"../out/model-00001-of-00005").utf8, to: path
    )
    #expect(refusal("out")?.reason.contains("must be the name of a file in the folder") == true)
    _ = try folder.write(text.utf8.dropLast(9), to: path)
    #expect(refusal("out")?.reason.hasPrefix("not valid JSON: line") == true)
    _ = try folder.write("{\"weight_map\": {}}".utf8, to: path)
    #expect(refusal("out")?.code == .damaged)
  }

  @Test func mentionsFilesItDoesNotRead() throws {
    try write("out", shardByteCount: 100)
    _ = try folder.write([1], to: "out/consolidated.safetensors")
    let found = try HFCheckpointFolder(path: folder.file("out/"))
    #expect(found.unusedFileNames == ["consolidated.safetensors"])
    #expect(!found.contains("x"))
    #expect(throws: CheckpointError.self) { try found.file(of: "x") }
    _ = try folder.write([1], to: "out/model.safetensors")
    #expect(refusal("out")?.reason.hasPrefix("has both") == true)
  }
}

/// The names in a folder that already exists.
struct TestFolder {
  let path: String
  init(_ path: String) { self.path = path }
  var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }
  }
}
