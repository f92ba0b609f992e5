import Foundation
import Testing
import XTunerText

@testable import XTunerCheckpoint

@Suite struct SafetensorsWriterTests {
  private let folder: TemporaryFolder
  private let entries = [
    SafetensorsEntry(name: "b", dataType: .float32, shape: [3, 5]),
    SafetensorsEntry(name: "none", dataType: .int64, shape: [0, 7]),
    SafetensorsEntry(name: "a", dataType: .uint8, shape: [11]),
    SafetensorsEntry(name: "half", dataType: .float4, shape: [2, 3]),
  ]

  init() throws { folder = try TemporaryFolder() }

  private func bytes(_ count: Int, seed: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed) }
  }

  @Test func whatIsWrittenReadsBack() throws {
    let path = folder.file("model.safetensors")
    let writer = try SafetensorsWriter(path: path, entries: entries, isHashed: true)
    #expect(try folder.names == ["model.safetensors.incomplete"])
    try bytes(60).withUnsafeBytes { try writer.write($0, for: "b") }
    try [UInt8]().withUnsafeBytes { try writer.write($0, for: "none") }
    try bytes(11, seed: 7).withUnsafeBytes { try writer.write($0, for: "a") }
    try bytes(3).withUnsafeBytes { try writer.write($0, for: "half") }
    let (byteCount, digest) = try writer.finish()
    #expect(try folder.names == ["model.safetensors"])
    #expect(digest.count == 64)

    let file = try SafetensorsFile(path: path)
    #expect(file.byteCount == byteCount && file.entries == entries)
    #expect(file.metadata == ["format": "pt"])
    #expect(try file.withBytes(of: "b") { Array($0) } == bytes(60))
    #expect(try file.withBytes(of: "a") { Array($0) } == bytes(11, seed: 7))
    #expect(try file.entry("b").byteRange.lowerBound.isMultiple(of: 8))
  }

  @Test func piecesMayCrossTensors() throws {
    let path = folder.file("x")
    let writer = try SafetensorsWriter(path: path, entries: entries)
    let all = bytes(74)
    for start in stride(from: 0, to: 74, by: 13) {
      try all[start..<min(start + 13, 74)].withUnsafeBytes { try writer.append($0) }
    }
    try writer.finish()
    let file = try SafetensorsFile(path: path)
    #expect(try file.withBytes(of: "half") { Array($0) } == Array(all[71...]))
  }

  @Test func refusesBytesThatWereNotDeclared() throws {
    let path = folder.file("x")
    let writer = try SafetensorsWriter(path: path, entries: entries)
    let order = #expect(throws: CheckpointError.self) {
      try bytes(11).withUnsafeBytes { try writer.write($0, for: "a") }
    }
    #expect(order?.reason == "tensor a is written where b is next")
    let size = #expect(throws: CheckpointError.self) {
      try bytes(59).withUnsafeBytes { try writer.write($0, for: "b") }
    }
    #expect(size?.reason == "tensor b: F32 [3, 5] takes 60 bytes, got 59")
    try bytes(60).withUnsafeBytes { try writer.write($0, for: "b") }
    let early = #expect(throws: CheckpointError.self) { try writer.finish() }
    #expect(early?.reason == "tensor a: 11 bytes were declared, 0 came")
    try bytes(14).withUnsafeBytes { try writer.append($0) }
    #expect(throws: CheckpointError.self) {
      try bytes(1).withUnsafeBytes { try writer.append($0) }
    }
    try writer.finish()
    #expect(throws: CheckpointError.self) { try writer.finish() }
  }

  @Test func anUnfinishedWriterLeavesNothingAndTheOldFile() throws {
    let path = try folder.write([1, 2, 3], to: "x")
    do {
      let writer = try SafetensorsWriter(path: path, entries: entries)
      try bytes(60).withUnsafeBytes { try writer.append($0) }
    }
    #expect(try folder.names == ["x"])
    #expect(try folder.read("x") == [1, 2, 3])
  }

  @Test func refusesNamesTwiceAndImpossibleSizes() {
    let path = folder.file("x")
    for bad in [
      [entries[0], entries[0]],
      [SafetensorsEntry(name: "__metadata__", dataType: .int8, shape: [1])],
      [SafetensorsEntry(name: "a", dataType: .float4, shape: [3])],
      [SafetensorsEntry(name: "a", dataType: .float64, shape: [Int.max, 2])],
      [SafetensorsEntry(name: "a", dataType: .float64, shape: [-1])],
    ] {
      #expect(throws: CheckpointError.self) { try SafetensorsWriter(path: path, entries: bad) }
    }
    #expect((try? folder.names) == [])
  }

  @Test func anUnwritableFolderIsNamed() {
    let path = folder.file("absent/x")
    let error = #expect(throws: CheckpointError.self) {
      try SafetensorsWriter(path: path, entries: entries)
    }
    #expect(error?.path == path && error?.code == .unwritable)
  }

  @Test func aFullDeviceNamesTheFileAndLeavesNothing() async {
    // In a process of its own, since the limit on file sizes is the process's.
    await #expect(processExitsWith: .success) {
      let folder = try TemporaryFolder()
      limitFileSize(byteCount: 4096)
      let writer = try SafetensorsWriter(
        path: folder.file("x"),
        entries: [SafetensorsEntry(name: "a", dataType: .uint8, shape: [10_000])])
      let error = #expect(throws: CheckpointError.self) {
        try [UInt8](repeating: 1, count: 10_000).withUnsafeBytes { try writer.append($0) }
      }
      try #require(error?.code == .noSpace)
      try #require(error?.path == folder.file("x"))
      try #require(error?.reason.contains("bytes after the first 4096") == true)
      try #require(try folder.names.isEmpty)
    }
  }
}

/// Makes writes beyond a size fail for the rest of the process, as on a full device.
func limitFileSize(byteCount: Int) {
  signal(SIGXFSZ, SIG_IGN)
  var limit = rlimit(rlim_cur: rlim_t(byteCount), rlim_max: rlim_t(byteCount))
  precondition(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
}
