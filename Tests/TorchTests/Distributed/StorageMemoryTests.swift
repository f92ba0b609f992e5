import Testing
import Torch

/// Storage that comes and goes, and the count of what tensors hold.
@Suite struct StorageMemoryTests {
  @Test func viewsFollowTheMemory() {
    let whole = Tensor.detachedStorage(count: 11, dtype: .float32)
    let matrix = whole.narrowed(dim: 0, start: 2, length: 6).view([2, 3])
    #expect(!whole.hasMemory && !matrix.hasMemory)
    #expect(whole.shape == [11] && whole.dtype == .float32)

    let first = Tensor((0..<13).map(Float.init))
    whole.attachMemory(of: first)
    #expect(matrix.hasMemory)
    #expect(matrix.floats() == [2, 3, 4, 5, 6, 7])
    matrix.fill(9)
    #expect(first.floats() == [0, 1, 9, 9, 9, 9, 9, 9, 8, 9, 10, 11, 12])

    whole.attachMemory(of: Tensor((100..<111).map(Float.init)))
    #expect(matrix.floats() == [102, 103, 104, 105, 106, 107], "the memory is kept alive")
    whole.detachMemory()
    #expect(!matrix.hasMemory)
  }

  @Test func memoryStartsAtTheOthersFirstElement() {
    let bytes = Tensor((0..<10).map(Float.init)).view(as: .uint8)
    let whole = Tensor.detachedStorage(count: 3, dtype: .float32)
    whole.attachMemory(of: bytes.narrowed(dim: 0, start: 8, length: 16))
    #expect(whole.floats() == [2, 3, 4])
  }

  /// A graph reads the memory that is there when it is differentiated, not the one it was recorded with.
  @Test func operationsRecordedBeforeMayRunAfter() {
    let whole = Tensor.detachedStorage(count: 5, dtype: .float32)
    whole.attachMemory(of: Tensor([17, 2, 3, 5, 19] as [Float]))
    let x = Tensor([1, 1, 1] as [Float]).leaf()
    let y = x * whole.narrowed(dim: 0, start: 1, length: 3)
    #expect(y.floats() == [2, 3, 5])
    whole.detachMemory()
    whole.attachMemory(of: Tensor([29, 7, 11, 13, 23] as [Float]))
    let found = gradients(
      of: [y], withRespectTo: [x], outputGradients: [Tensor.ones([3])])
    #expect(found[0]?.floats() == [7, 11, 13])
  }

  @Test func nothingLacksNothing() {
    let empty = Tensor.detachedStorage(count: 0, dtype: .bfloat16)
    #expect(empty.hasMemory && empty.shape == [0])
    empty.attachMemory(of: Tensor.zeros([0]))
    empty.attachMemory(of: Tensor.zeros([3]))
    #expect(empty.floats() == [])
    empty.detachMemory()
    #expect(empty.hasMemory)
  }

  @Test func tooLittleMemoryStops() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      Tensor.detachedStorage(count: 5, dtype: .float32).attachMemory(of: Tensor.zeros([4]))
    }
    let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(message.contains("needs 20 bytes, the tensor has 16"), "\(message)")
  }

  @Test func liveAndPeakBytesAreExact() async {
    // The count is the process's, so in one of its own.
    await #expect(processExitsWith: .success) {
      var before: Tensor? = Tensor.zeros([1_000])
      DeviceMemory.startCounting()
      DeviceMemory.startCounting()
      #expect(DeviceMemory.liveByteCount() == 0)
      var first: Tensor? = Tensor.empty([1_009], dtype: .float32)
      let view = first?.narrowed(dim: 0, start: 5, length: 2)
      precondition(DeviceMemory.liveByteCount() == 4_036, "\(DeviceMemory.liveByteCount())")
      first = nil
      precondition(DeviceMemory.liveByteCount() == 4_036, "a view keeps all of it")
      do {
        let whole = Tensor.detachedStorage(count: 7, dtype: .int64)
        whole.attachMemory(of: Tensor.empty([7], dtype: .int64))
        precondition(DeviceMemory.liveByteCount() == 4_036 + 56)
      }
      precondition(DeviceMemory.liveByteCount() == 4_036)
      before = nil
      precondition(DeviceMemory.liveByteCount() == 4_036, "what was there before does not count")
      precondition(DeviceMemory.peakByteCount() == 4_036 + 56)
      DeviceMemory.resetPeak()
      precondition(DeviceMemory.peakByteCount() == 4_036)
      _ = (before, view)
    }
  }

  @Test func countedMemoryComputesTheSame() async {
    await #expect(processExitsWith: .success) {
      let a = Tensor((0..<35).map(Float.init), shape: [5, 7])
      let before = a.matmul(a.transposed(0, 1)).floats()
      DeviceMemory.startCounting()
      let b = a.cloned()
      precondition(b.matmul(b.transposed(0, 1)).floats() == before)
      for _ in 0..<3 {
        let c = b.to(.bfloat16)
        _ = c.matmul(c.transposed(0, 1))
      }
      precondition(DeviceMemory.liveByteCount() >= 140)
    }
  }
}
