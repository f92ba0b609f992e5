import Foundation
import Synchronization
import Testing

@testable import XTunerCheckpoint

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

@Suite struct CheckpointWriterTests {
  private let folder: TemporaryFolder
  private let writer: CheckpointWriter

  init() throws {
    folder = try TemporaryFolder()
    writer = CheckpointWriter(store: RunCheckpointStore(folder: folder.file("checkpoints")))
  }

  @Test func writesInTheBackground() throws {
    let bytes = HeldBytes()
    var contents = try RunCheckpointContents.example(step: 1)
    contents.files[0].tensors[0].bytes = bytes
    try writer.submit(contents)
    #expect(writer.isWriting)
    #expect(try writer.store.latestComplete() == nil)
    bytes.release()
    #expect(try writer.wait()?.step == 1)
    #expect(!writer.isWriting)
    #expect(bytes.isAsked.withLock { $0 })
  }

  @Test func keepsTheOrderOfSubmissions() throws {
    for step in 1...5 { try writer.submit(.example(step: step)) }
    #expect(try writer.wait()?.step == 5)
    #expect(try writer.store.scan().complete.map(\.step) == [1, 2, 3, 4, 5])
  }

  @Test func anErrorAppearsOnceAtTheNextCall() throws {
    var bad = try RunCheckpointContents.example(step: 1)
    bad.files[0].tensors[0].bytes = [UInt8](repeating: 0, count: 34)
    try writer.submit(bad)
    let error = #expect(throws: CheckpointError.self) { try writer.submit(.example(step: 2)) }
    #expect(error?.reason == "tensor unit.0: U8 [35] takes 35 bytes, got 34")
    try writer.submit(.example(step: 3))
    #expect(try writer.wait()?.step == 3)
    #expect(try writer.store.scan().complete.map(\.step) == [3])
    #expect(try TestFolder(writer.store.folder).names == ["step-00000003"])
  }
}
