import Foundation
import Synchronization
import Testing
import XTunerCheckpoint
import XTunerParallel

@testable import XTunerTrainer

/// Bytes that are given out only when the test allows it.
private final class HeldBytes: TensorBytes {
  let byteCount = 35
  private let gate = DispatchSemaphore(value: 0)
  let isAsked = Mutex(false)

  func withBytes(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    isAsked.withLock { $0 = true }
    gate.wait()
    try [UInt8](repeating: 3, count: byteCount).withUnsafeBytes(body)
  }

  func release() { gate.signal() }
}

/// The writer of one rank; `RunCheckpointTests` and the tests of ranks cover several.
@Suite final class RunCheckpointWriterTests {
  private let store = RunCheckpointStore(
    folder: FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-writer-\(UUID().uuidString)").path)
  private var written: [Int] = []
  private lazy var writer = RunCheckpointWriter(store: store, mesh: ProcessMesh()) {
    [unowned self] in
    written.append($0)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: store.folder)
  }

  /// A checkpoint of one tensor of 35 bytes.
  private func contents(
    step: Int, _ bytes: any TensorBytes = [UInt8](repeating: 7, count: 35)
  ) throws -> RunCheckpointContents {
    let entry = SafetensorsEntry(name: "unit.0", dataType: .uint8, shape: [35])
    return try RunCheckpointContents(
      step: step,
      files: [.init(name: "weights.safetensors", tensors: [.init(entry: entry, bytes: bytes)])],
      pieces: [
        .init(
          unit: "unit.0", parameter: "unit.0.weight", file: "weights.safetensors",
          tensor: "unit.0", offset: 0, length: 35, dataType: .uint8)
      ],
      state: ["step": step], configurationHash: "c0ffee", libraryVersions: ["libtorch": "2.11.0"])
  }

  @Test func writesInTheBackground() throws {
    let bytes = HeldBytes()
    try writer.submit(contents(step: 1, bytes))
    try writer.poll()
    #expect(try store.latestComplete() == nil && written.isEmpty)
    bytes.release()
    try writer.wait()
    #expect(try store.latestComplete()?.step == 1)
    #expect(written == [1] && bytes.isAsked.withLock { $0 })
  }

  @Test func keepsTheOrderOfSubmissions() throws {
    for step in 1...5 { try writer.submit(contents(step: step)) }
    try writer.wait()
    #expect(try store.scan().complete.map(\.step) == [1, 2, 3, 4, 5])
    #expect(written == [1, 2, 3, 4, 5])
  }

  @Test func anErrorAppearsOnceAtTheNextCall() throws {
    try writer.submit(contents(step: 1, [UInt8](repeating: 0, count: 34)))
    let error = #expect(throws: CheckpointError.self) { try writer.submit(contents(step: 2)) }
    #expect(error?.reason == "tensor unit.0: U8 [35] takes 35 bytes, got 34")
    try writer.submit(contents(step: 3))
    try writer.wait()
    #expect(try store.scan().complete.map(\.step) == [3])
    #expect(try FileManager.default.contentsOfDirectory(atPath: store.folder) == ["step-00000003"])
    #expect(written == [3])
  }
}
