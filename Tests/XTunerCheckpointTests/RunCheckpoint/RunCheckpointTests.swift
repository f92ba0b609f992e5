import Foundation
import Testing

@testable import XTunerCheckpoint

/// What a run keeps besides tensors, in the widest numbers.
struct ExampleState: Codable, Equatable {
  var seed: UInt64 = .max
  var samples: Int = .min
  var rate = 0.1 + 0.2
  var best = Double.infinity
}

extension RunCheckpointContents {
  static func example(step: Int, tensorByteCount: Int = 35) throws -> RunCheckpointContents {
    let bytes = (0..<tensorByteCount).map { UInt8(truncatingIfNeeded: $0 &+ step) }
    let entry = SafetensorsEntry(name: "unit.0", dataType: .uint8, shape: [tensorByteCount])
    return try RunCheckpointContents(
      step: step,
      files: [
        File(name: "weights.safetensors", tensors: [CheckpointTensor(entry: entry, bytes: bytes)]),
        File(name: "optimizer.safetensors", tensors: []),
      ],
      pieces: [
        .init(
          unit: "unit.0", parameter: "unit.0.weight", file: "weights.safetensors",
          tensor: "unit.0", offset: 0, length: tensorByteCount, dataType: .uint8)
      ],
      state: ExampleState(), configurationHash: "c0ffee", libraryVersions: ["libtorch": "2.11.0"])
  }
}

@Suite struct RunCheckpointTests {
  private let folder: TemporaryFolder
  private let store: RunCheckpointStore

  init() throws {
    folder = try TemporaryFolder()
    store = RunCheckpointStore(folder: folder.file("checkpoints"))
  }

  private func steps() throws -> [Int] { try store.scan().complete.map(\.step) }

  @Test func whatIsWrittenReadsBack() throws {
    #expect(try store.latestComplete() == nil)
    let written = try store.write(.example(step: 123))
    #expect(written.path == folder.file("checkpoints/step-00000123"))
    let found = try #require(try store.latestComplete())
    #expect(found == written && found.step == 123)
    #expect(found.manifest.configurationHash == "c0ffee")
    #expect(found.manifest.libraryVersions == ["libtorch": "2.11.0"])
    #expect(found.manifest.pieces.first?.length == 35)
    #expect(try found.state(as: ExampleState.self) == ExampleState())
    let file = try found.open("weights.safetensors")
    #expect(try file.withBytes(of: "unit.0") { $0[1] } == 124)
    try found.verify()
    #expect(throws: CheckpointError.self) { try found.open("manifest.json") }
    #expect(
      try TestFolder(found.path).names == [
        "manifest.json", "manifest.sha256", "optimizer.safetensors", "state.json",
        "weights.safetensors",
      ])
  }

  @Test func theLatestIsTheHighestStepWhateverTheOrder() throws {
    for step in [7, 1_000_000_000, 3] { try store.write(.example(step: step)) }
    #expect(try steps() == [3, 7, 1_000_000_000])
    #expect(try store.latestComplete()?.step == 1_000_000_000)
  }

  @Test func aStepMayBeWrittenAgain() throws {
    try store.write(.example(step: 5, tensorByteCount: 11))
    try store.write(.example(step: 5, tensorByteCount: 13))
    let file = try #require(try store.latestComplete()).open("weights.safetensors")
    #expect(try file.entry("unit.0").shape == [13])
    #expect(try TestFolder(store.folder).names == ["step-00000005"])
  }

  @Test(arguments: ["manifest.json", "manifest.sha256", "state.json", "weights.safetensors"])
  func aCheckpointWithAnyFileCutOrAbsentIsNotComplete(name: String) throws {
    try store.write(.example(step: 2))
    let path = try store.write(.example(step: 4)).path
    let relative = "checkpoints/step-00000004/\(name)"
    let whole = try folder.read(relative)
    for count in 0..<whole.count {
      _ = try folder.write(whole[..<count], to: relative)
      let scan = try store.scan()
      #expect(scan.complete.map(\.step) == [2] && scan.rejected.map(\.path) == [path])
    }
    try FileManager.default.removeItem(atPath: folder.file(relative))
    #expect(try store.latestComplete()?.step == 2)
    #expect(try store.scan().rejected.first?.error.code == .missing)
  }

  @Test func verificationFindsAChangedByte() throws {
    let checkpoint = try store.write(.example(step: 4))
    var bytes = try folder.read("checkpoints/step-00000004/weights.safetensors")
    bytes[bytes.count - 1] ^= 1
    _ = try folder.write(bytes, to: "checkpoints/step-00000004/weights.safetensors")
    #expect(try store.latestComplete() == checkpoint)
    let error = #expect(throws: CheckpointError.self) { try checkpoint.verify() }
    #expect(error?.path == "\(checkpoint.path)/weights.safetensors")
  }

  @Test func manifestsThatLieAreRejected() throws {
    try store.write(.example(step: 4))
    let relative = "checkpoints/step-00000004/manifest.json"
    let text = String(decoding: try folder.read(relative), as: UTF8.self)
    for (change, into, message) in [
      ("\"formatVersion\" : 3", "\"formatVersion\" : 4", "another version"),
      ("\"step\" : 4", "\"step\" : 5", "named for step 4"),
      ("\"name\" : \"state.json\"", "\"name\" : \"../state.json\"", "plain file name"),
      ("\"file\" : \"weights.safetensors\"", "\"file\" : \"x\"", "not listed"),
      ("\"step\"", "\"stop\"", "step is missing"),
    ] {
      #expect(text.contains(change))
      try RunCheckpoint.signManifest(
        Array(text.replacing(change, with: into).utf8), in: store.path(step: 4))
      let scan = try store.scan()
      #expect(scan.complete.isEmpty)
      #expect(scan.rejected.first?.error.reason.contains(message) == true, "\(scan.rejected)")
    }
  }

  @Test func theNewestIsNotTheOneBeforeADamagedOne() throws {
    for step in [2, 4, 6] { try store.write(.example(step: step)) }
    #expect(try store.newest().checkpoint?.step == 6)
    let cut = { (step: Int) in
      let relative = "checkpoints/step-0000000\(step)/weights.safetensors"
      _ = try self.folder.write([1], to: relative)
    }
    try cut(2)
    let found = try store.newest()
    #expect(found.checkpoint?.step == 6 && found.older.map(\.step) == [2])
    try cut(6)
    let error = #expect(throws: CheckpointError.self) { try store.newest() }
    #expect(error?.code == .damaged && error?.path == store.folder)
    #expect(
      error?.reason.contains("a checkpoint is damaged: \(store.path(step: 6))/weights") == true)
    #expect(error?.reason.contains("the newest whole one is \(store.path(step: 4))") == true)
    for rejection in try store.scan().rejected { try store.setAside(rejection) }
    #expect(try store.newest().checkpoint?.step == 4)
    #expect(
      try TestFolder(store.folder).names == [
        "step-00000002.damaged", "step-00000004", "step-00000006.damaged",
      ])
    try cut(4)
    #expect(throws: CheckpointError.self) { try store.newest() }
  }

  @Test func aFolderThatIsGoneIsNotMadeAgain() throws {
    let gone = RunCheckpointStore(folder: folder.file("run/checkpoints"))
    #expect(try gone.newest().checkpoint == nil)
    let error = #expect(throws: CheckpointError.self) { try gone.write(.example(step: 1)) }
    #expect(error?.path == gone.folder)
    #expect(!FileManager.default.fileExists(atPath: folder.file("run")))
  }

  @Test func aLinkToNothingIsNotAnEmptyFolder() throws {
    try FileManager.default.createSymbolicLink(
      atPath: store.folder, withDestinationPath: folder.file("unmounted"))
    for _ in 0..<2 {
      let error = #expect(throws: CheckpointError.self) { try store.scan() }
      #expect(error?.code == .missing && error?.path == store.folder)
    }
    #expect(throws: CheckpointError.self) { try store.write(.example(step: 1)) }
  }

  @Test func retentionLeavesTheNewestAndTheMarked() throws {
    let store = RunCheckpointStore(folder: folder.file("checkpoints"), retainedCount: 2)
    try store.write(.example(step: 1)).keep()
    for step in 2...5 { try store.write(.example(step: step)) }
    #expect(try steps() == [1, 4, 5])
    #expect(try store.scan().complete.map(\.isKept) == [true, false, false])
    try FileManager.default.removeItem(atPath: folder.file("checkpoints/step-00000005/state.json"))
    #expect(try store.applyRetention() == [])
    #expect(try steps() == [1, 4])
  }

  @Test func leftoversOfDeadWritersGoAndTheReplacedComesBack() throws {
    try store.write(.example(step: 1))
    try store.write(.example(step: 2))
    let manager = FileManager.default
    try manager.copyItem(
      atPath: store.path(step: 1), toPath: "\(store.path(step: 3)).incomplete")
    try manager.copyItem(atPath: store.path(step: 1), toPath: "\(store.path(step: 1)).replaced")
    try manager.moveItem(atPath: store.path(step: 2), toPath: "\(store.path(step: 2)).replaced")
    try manager.copyItem(atPath: store.path(step: 1), toPath: "\(store.path(step: 0)).removed")
    #expect(try steps() == [1])
    let concerned = try store.removeLeftovers()
    #expect(concerned == [1, 2, 3].map { store.path(step: $0) })
    #expect(try steps() == [1, 2])
    #expect(try TestFolder(store.folder).names == ["step-00000001", "step-00000002"])
  }

  @Test func aLivingWriterIsLeftAlone() throws {
    try FileManager.default.createDirectory(
      atPath: store.folder, withIntermediateDirectories: true)
    let transaction = try FolderTransaction(path: store.path(step: 9))
    #expect(try store.removeLeftovers() == [])
    #expect(FileSystem.kind(transaction.partialPath) == .folder)
    #expect(throws: CheckpointError.self) { try store.write(.example(step: 9)) }
    transaction.discard()
    try store.write(.example(step: 9))
    #expect(try steps() == [9])
  }

  @Test func aFullDeviceLeavesTheCheckpointBefore() async {
    await #expect(processExitsWith: .success) {
      let folder = try TemporaryFolder()
      let store = RunCheckpointStore(folder: folder.file("checkpoints"), retainedCount: 1)
      try store.write(.example(step: 1))
      limitFileSize(byteCount: 8192)
      let error = #expect(throws: CheckpointError.self) {
        try store.write(.example(step: 2, tensorByteCount: 100_000))
      }
      try #require(error?.code == .noSpace)
      try #require(error?.path.hasSuffix("step-00000002/weights.safetensors") == true)
      try #require(try store.scan().complete.map(\.step) == [1])
      try #require(try TestFolder(store.folder).names == ["step-00000001"])
      try #require(try store.latestComplete()).verify()
    }
  }

  @Test(.enabled(if: MemoryDisk.isAvailable, "needs the right to mount a small file system"))
  func aFullFileSystemLeavesTheCheckpointBefore() throws {
    let disk = try MemoryDisk(byteCount: 256 << 10)
    let store = RunCheckpointStore(folder: "\(disk.path)/checkpoints")
    try store.write(.example(step: 1, tensorByteCount: 50_000))
    let error = #expect(throws: CheckpointError.self) {
      try store.write(.example(step: 2, tensorByteCount: 500_000))
    }
    #expect(error?.code == .noSpace && error?.reason.contains("No space left") == true)
    #expect(try TestFolder(store.folder).names == ["step-00000001"])
    try store.write(.example(step: 3, tensorByteCount: 50_000)).verify()
  }
}

/// A file system of a few hundred kilobytes, for one test.
final class MemoryDisk {
  let path: String
  private let folder: TemporaryFolder

  /// Whether this process may mount one; tried once, on a folder of its own.
  static let isAvailable = (try? MemoryDisk(byteCount: 64 << 10)) != nil

  init(byteCount: Int) throws {
    folder = try TemporaryFolder()
    path = folder.file("disk")
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    guard mount("tmpfs", path, "tmpfs", 0, "size=\(byteCount)") == 0 else {
      throw CheckpointError.system("mount", path: path)
    }
  }

  deinit { umount(path) }
}
