import Testing
import Torch

/// Quantisation to float8_e4m3fn: values and scales equal those of the reference to the last bit.
@Suite struct Float8QuantizationTests {
  static let shapes = [
    [0, 5], [5, 0], [1, 1], [1, 128], [3, 127], [7, 129], [129, 13], [128, 256], [131, 257],
    [257, 383],
  ]

  private func expectSame(
    _ mine: Float8Tensor, _ theirs: Float8Tensor, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(mine.values.dtype == .float8e4m3 && mine.scales.dtype == .float32)
    #expect(mine.values.shape == theirs.values.shape, "\(what)", sourceLocation: sourceLocation)
    #expect(mine.scales.shape == theirs.scales.shape, "\(what)", sourceLocation: sourceLocation)
    // Sign and payload of a NaN are nobody's.
    func patterns(_ tensor: Tensor) -> [UInt8] {
      bytes(tensor).map { $0 & 127 == 127 ? 127 : $0 }
    }
    #expect(
      patterns(mine.values) == patterns(theirs.values), "\(what)", sourceLocation: sourceLocation)
    func scalePatterns(_ tensor: Tensor) -> [UInt32] {
      tensor.floats().map { ($0.isNaN ? Float.nan : $0).bitPattern }
    }
    #expect(
      scalePatterns(mine.scales) == scalePatterns(theirs.scales), "\(what)",
      sourceLocation: sourceLocation)
  }

  @Test(arguments: [DType.bfloat16, .float32], shapes)
  func equalsReference(dtype: DType, shape: [Int]) {
    let x = randomTensor(shape, dtype: dtype, generator: Generator(seed: 3))
    let (rows, reference) = (x.quantizedInRows(), x.quantizedInRows(implementation: .reference))
    expectSame(rows, reference, "rows")
    #expect(rows.scales.strides == [1, shape[0]] || rows.scales.elementCount < 2)
    let (blocks, ofReference) = (
      x.quantizedInBlocks(), x.quantizedInBlocks(implementation: .reference)
    )
    expectSame(blocks, ofReference, "blocks")
    expectSame(
      x.quantizedInColumns(), x.quantizedInColumns(implementation: .reference), "columns")
    for implementation in [Implementation.kernel, .reference] {
      let both = x.quantizedInRowsAndColumns(implementation: implementation)
      expectSame(both.rows, rows, "rows of both")
      expectSame(both.columns, x.quantizedInColumns(), "columns of both")
    }
    for quantized in [rows, blocks] {
      for target in [DType.bfloat16, .float32] {
        #expect(
          bytes(quantized.dequantized(to: target))
            == bytes(quantized.dequantized(to: target, implementation: .reference)))
      }
    }
  }

  @Test func expertsHaveTheirOwnBlocks() {
    let x = randomTensor([3, 131, 200], dtype: .bfloat16, generator: Generator(seed: 5))
    let all = x.quantizedInBlocks()
    #expect(all.scales.shape == [3, 2, 2])
    expectSame(all, x.quantizedInBlocks(implementation: .reference), "experts")
    for expert in 0..<3 {
      let one = x.selected(dim: 0, index: expert).quantizedInBlocks()
      #expect(bytes(all.scales.selected(dim: 0, index: expert)) == bytes(one.scales))
    }
    expectClose(all.dequantized(), x.to(.float32), absolute: 0.2, relative: 0.07)
  }

  @Test(arguments: GroupedLinearTests.cases)
  func columnsDoNotMixExperts(rows: GroupedLinearTests.Case) {
    let total = rows.rows.reduce(0, +)
    let x = randomTensor([total, 71], dtype: .bfloat16, generator: Generator(seed: 7))
    let offsets = GroupedLinearTests.offsets(rows.rows)
    let columns = x.quantizedInColumns(offsets: offsets)
    expectSame(
      columns, x.quantizedInColumns(offsets: offsets, implementation: .reference), "columns")
    let both = x.quantizedInRowsAndColumns(offsets: offsets)
    expectSame(both.rows, x.quantizedInRows(), "rows of both")
    expectSame(both.columns, columns, "columns of both")
    let padded = (total + 127 * rows.rows.count) / 128 * 128
    #expect(columns.values.shape == [71, padded] && columns.scales.shape == [71, padded / 128])
    var (row, place) = (0, 0)
    for count in rows.rows where count > 0 {
      let own = x.narrowed(dim: 0, start: row, length: count).quantizedInColumns()
      let length = own.values.size(1)
      #expect(
        bytes(columns.values.narrowed(dim: 1, start: place, length: length)) == bytes(own.values))
      #expect(
        bytes(columns.scales.narrowed(dim: 1, start: place / 128, length: length / 128))
          == bytes(own.scales))
      row += count
      place += length
    }
  }

  /// Every number of bfloat16 is converted as c10 converts it, infinities and NaN included.
  @Test func everyBfloat16IsConvertedAsByLibtorch() {
    var patterns: [UInt8] = []
    for pattern in 0..<UInt16.max { patterns += [UInt8(pattern & 255), UInt8(pattern >> 8)] }
    patterns += [255, 255]
    let x = patterns.withUnsafeBytes { Tensor(bytes: $0, shape: [65536, 1], dtype: .bfloat16) }
    // In tiles of one element most values become 448 or -448.
    expectSame(x.quantizedInRows(), x.quantizedInRows(implementation: .reference), "alone")
    // With 448 in each tile scales are 1 and values are only rounded.
    let numbers = Tensor.concatenated(
      [x, Tensor.full([65536, 1], value: 448, dtype: .bfloat16)], dim: 1)
    expectSame(
      numbers.quantizedInRows(), numbers.quantizedInRows(implementation: .reference), "beside 448")
  }

  /// The published rule by hand: one outlier takes the range from its tile, and from no other.
  @Test func anOutlierCoarsensItsOwnTileOnly() {
    var numbers = [Float](repeating: 1, count: 256)
    numbers[3] = 448 * 16
    numbers[4] = 1.1
    numbers[5] = 0.01
    numbers[200] = 1.1
    let row = Tensor(numbers, shape: [1, 256]).quantizedInRows()
    #expect(row.scales.floats() == [16, 1.1 / 448])
    let read = row.dequantized().floats()
    #expect(read[3] == 7168)
    // 1.1 / 16 lies between 8/128 and 16/128, in steps of 1/128; 0.01 / 16 is below half the smallest step.
    #expect(read[4] == 9 / 128.0 * 16 && read[5] == 0)
    // 1.1 is the largest of its tile and is exact to float32.
    #expect(abs(read[200] - 1.1) < 1e-6 && abs(read[201] - 1) < 0.04)
  }

  @Test func zerosHaveScaleOneAndTinyNumbersAFiniteOne() {
    let zeros = Tensor.zeros([2, 130], dtype: .bfloat16).quantizedInRows()
    #expect(zeros.scales.floats() == [1, 1, 1, 1])
    #expect(zeros.dequantized().floats().allSatisfy { $0 == 0 })
    let tiny = Tensor([Float](repeating: 0x1p-133, count: 3), shape: [1, 3]).quantizedInRows()
    #expect(tiny.scales.floats() == [0x1p-126])
    let large = Tensor([Float.greatestFiniteMagnitude, 1], shape: [1, 2]).quantizedInRows()
    #expect(large.dequantized().floats()[0].isFinite)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity], [0, 127, 128, 199])
  func whatIsNotFiniteMakesItsTileNaN(value: Float, place: Int) {
    var numbers = [Float](repeating: 0.5, count: 2 * 200)
    numbers[place] = value
    let x = Tensor(numbers, shape: [2, 200])
    let read = x.quantizedInRows().dequantized().floats()
    for (index, number) in read.enumerated() {
      #expect(number.isNaN == (index < 200 && index / 128 == place / 128), "element \(index)")
    }
    #expect(x.quantizedInBlocks().dequantized().floats()[place].isNaN)
    let columns = x.quantizedInColumns()
    #expect(columns.dequantized().floats()[place * columns.values.size(1)].isNaN)
    // What fills up a tile is its zeros times the same scale, on every device.
    expectSame(columns, x.quantizedInColumns(implementation: .reference), "columns")
  }

  @Test func doesNotDependOnThreads() {
    let x = randomTensor([541, 390], dtype: .bfloat16, generator: Generator(seed: 9))
    let threads = Torch.threadCount
    defer { Torch.setThreadCount(threads) }
    let outcomes = [1, 2].map { count in
      Torch.setThreadCount(count)
      return [x.quantizedInRows(), x.quantizedInBlocks(), x.quantizedInColumns()]
    }
    for (a, b) in zip(outcomes[0], outcomes[1]) { expectSame(a, b, "threads") }
  }
}
