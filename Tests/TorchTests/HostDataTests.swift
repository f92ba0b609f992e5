import Synchronization
import Testing
import Torch

/// Moving elements between Swift arrays, raw memory and tensors.
@Suite struct HostDataTests {
  private func expectRoundTrip<Element: TensorElement & Equatable>(
    _ elements: [Element], sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let tensor = Tensor(elements)
    #expect(tensor.dtype == Element.dtype, sourceLocation: sourceLocation)
    #expect(tensor.dtype.size == MemoryLayout<Element>.stride, sourceLocation: sourceLocation)
    #expect(tensor.elements(as: Element.self) == elements, sourceLocation: sourceLocation)
  }

  @Test func everyElementTypeSurvivesARoundTrip() {
    expectRoundTrip([UInt8.min, 1, .max])
    expectRoundTrip([Int8.min, -1, .max])
    expectRoundTrip([Int16.min, -1, .max])
    expectRoundTrip([Int32.min, -1, .max])
    expectRoundTrip([Int64.min, -1, .max])
    expectRoundTrip([-Float.infinity, -0.0, .leastNonzeroMagnitude, 1.5, .greatestFiniteMagnitude])
    expectRoundTrip([-Double.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude])
    expectRoundTrip([true, false, true])
  }

  @Test(arguments: DType.allCases)
  func everyDTypeKeepsItsBytes(dtype: DType) {
    // Any pattern of bits is a value, except for bool.
    let count = 7 * 5 * dtype.size
    let modulus = dtype == .bool ? 2 : 256
    let source: [UInt8] = (0..<count).map { index in UInt8((index * 37 + 11) % modulus) }
    let tensor = source.withUnsafeBytes { Tensor(bytes: $0, shape: [7, 5], dtype: dtype) }
    #expect(tensor.dtype == dtype)
    #expect(tensor.shape == [7, 5])
    #expect(tensor.byteCount == count)
    #expect(bytes(tensor) == source)
    let columns = bytes(tensor.transposed(0, 1))
    for row in 0..<7 {
      for column in 0..<5 {
        let (from, to) = ((row * 5 + column) * dtype.size, (column * 7 + row) * dtype.size)
        #expect(columns[to..<to + dtype.size] == source[from..<from + dtype.size])
      }
    }
  }

  @Test(arguments: [
    // The bits of 1, of the largest finite number and of the smallest above zero.
    (
      DType.bfloat16, [0x3f80, 0x7f7f, 0x0001] as [UInt16],
      [1, 3.3895314e38, 0x1p-133] as [Float]
    ),
    (.float16, [0x3c00, 0x7bff, 0x0001], [1, 65504, 5.9604645e-8]),
  ])
  func halfPrecisionBitsHaveTheirValues(dtype: DType, bits: [UInt16], values: [Float]) {
    let tensor = bits.withUnsafeBytes { Tensor(bytes: $0, shape: [3], dtype: dtype) }
    #expect(tensor.floats() == values)
    #expect(bytes(Tensor(values).to(dtype)) == bits.withUnsafeBytes { Array($0) })
  }

  @Test(arguments: [
    (DType.float8e4m3, [0x38, 0x7e, 0x01] as [UInt8], [1, 448, 0.001953125] as [Float]),
    (.float8e5m2, [0x3c, 0x7b, 0x01], [1, 57344, 1.52587890625e-05]),
  ])
  func eightBitFloatsHaveTheirValues(dtype: DType, bits: [UInt8], values: [Float]) {
    let tensor = bits.withUnsafeBytes { Tensor(bytes: $0, shape: [3], dtype: dtype) }
    #expect(tensor.floats() == values)
    #expect(bytes(Tensor(values).to(dtype)) == bits)
  }

  @Test func bfloat16RoundsToNearestEven() {
    // 1 + 2^-8 lies between 1 and 1 + 2^-7: to the even one, 1. 1 + 3 x 2^-8 goes up.
    let values: [Float] = [1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-8 + 0x1p-20]
    #expect(Tensor(values).to(.bfloat16).floats() == [1, 1 + 0x1p-6, 1 + 0x1p-7])
  }

  @Test func emptyTensorsAreTensors() {
    for shape in [[0], [0, 3], [3, 0, 5]] {
      let tensor = Tensor([] as [Float], shape: shape)
      #expect(tensor.shape == shape)
      #expect(tensor.elementCount == 0)
      #expect(tensor.floats() == [])
      #expect(bytes(tensor) == [])
    }
  }

  @Test func scalarHasNoDims() {
    let tensor = Tensor([2.5] as [Double], shape: [])
    #expect(tensor.rank == 0)
    #expect(tensor.item() == 2.5)
    #expect(Tensor([Int64.max], shape: []).integerItem() == Int.max)
  }

  @Test func writesThroughMemoryAreSeenByViews() {
    let tensor = Tensor.zeros([2, 3])
    let row = tensor.selected(dim: 0, index: 1)
    tensor.withMutableBytes { $0.storeBytes(of: Float(7), toByteOffset: 16, as: Float.self) }
    #expect(row.floats() == [0, 7, 0])
  }

  // MARK: - Borrowed memory

  /// Memory that counts its owners' releases.
  private final class Memory: Sendable {
    let releases: ReleaseCount
    nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer

    init(_ values: [Float], _ releases: ReleaseCount) {
      self.releases = releases
      bytes = .allocate(byteCount: values.count * 4, alignment: 64)
      bytes.copyBytes(from: values.withUnsafeBytes { Array($0) })
    }

    deinit {
      bytes.deallocate()
      releases.count.withLock { $0 += 1 }
    }
  }

  private final class ReleaseCount: Sendable {
    let count = Mutex(0)
    var value: Int { count.withLock { $0 } }
  }

  private func borrow(_ values: [Float], _ releases: ReleaseCount) -> Tensor {
    let memory = Memory(values, releases)
    return Tensor(
      borrowing: UnsafeRawBufferPointer(memory.bytes), shape: [values.count], dtype: .float32,
      owner: memory)
  }

  @Test func ownerOfBorrowedMemoryLivesUntilTheLastViewDies() {
    let releases = ReleaseCount()
    var tensor: Tensor? = borrow([1, 2, 3, 5], releases)
    var view: Tensor? = tensor?.sliced(dim: 0, from: 1, to: 3)
    #expect(tensor?.floats() == [1, 2, 3, 5])
    tensor = nil
    #expect(releases.value == 0)
    #expect(view?.floats() == [2, 3])
    view = nil
    #expect(releases.value == 1)
  }

  @Test func graphKeepsBorrowedMemoryAlive() {
    let releases = ReleaseCount()
    do {
      let weight = Tensor([2, 3] as [Float]).leaf()
      var product: Tensor?
      do { product = borrow([5, 7], releases) * weight }
      #expect(releases.value == 0)  // Saved for backward.
      let gradient = gradients(
        of: [product!], withRespectTo: [weight], outputGradients: [Tensor.ones([2])])[0]
      #expect(gradient?.floats() == [5, 7])
      product = nil
    }
    #expect(releases.value == 1)
  }

  @Test func borrowedMemoryIsNotCopied() {
    let memory = Memory([1, 2], ReleaseCount())
    let tensor = Tensor(
      borrowing: UnsafeRawBufferPointer(memory.bytes), shape: [2], dtype: .float32, owner: memory)
    memory.bytes.storeBytes(of: 9, as: Float.self)
    #expect(tensor.floats() == [9, 2])
  }

  @Test func ownerIsReleasedOnceWhenReleasedOnAnotherThread() async {
    let releases = ReleaseCount()
    await withTaskGroup { group in
      for _ in 0..<50 {
        group.addTask { _ = self.borrow([1, 2, 3], releases).sliced(dim: 0, from: 1).floats() }
      }
    }
    #expect(releases.value == 50)
  }
}
