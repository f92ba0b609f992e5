public import Torch
public import XTunerNN

/// Which elements of a whole parameter a rank's local parameter has: a box of it.
///
/// Local elements are those of the box in row-major order.
public struct ParameterSlice: Sendable, Hashable, Codable {
  /// Elements that lie side by side both in the slice and in the whole parameter.
  public struct Run: Sendable, Hashable {
    /// Where they start in the slice.
    public var local: Int
    /// Where they start in the whole parameter.
    public var global: Int
    /// How many there are.
    public var count: Int

    /// A run from its parts.
    public init(local: Int, global: Int, count: Int) {
      self.local = local
      self.global = global
      self.count = count
    }
  }

  /// The whole parameter seen in this shape, such as `[E, 2, I, D]`.
  public var shape: [Int]
  /// What the slice has of each dim.
  public var ranges: [Range<Int>]

  /// A box of a shape.
  public init(shape: [Int], ranges: [Range<Int>]) {
    precondition(shape.count == ranges.count, "one range a dim")
    for (size, range) in zip(shape, ranges) {
      precondition(range.lowerBound >= 0 && range.upperBound <= size, "\(range) of \(size)")
    }
    self.shape = shape
    self.ranges = ranges
  }

  /// All of a parameter.
  public init(whole shape: [Int]) {
    self.init(shape: shape, ranges: shape.map { 0..<$0 })
  }

  /// The experts that a place of the expert mesh has, cut over the ranks of expert tensor
  /// parallelism.
  public init(
    expertParameter parameter: Parameter, expert: Int, expertDegree: Int, tensor: Int,
    tensorDegree: Int
  ) {
    let share = parameter.shape[0] / expertDegree
    var shape = parameter.shape
    var ranges = shape.map { 0..<$0 }
    ranges[0] = expert * share..<(expert + 1) * share
    if tensorDegree > 1, let split = parameter.tensorSplit {
      let blockSize = shape[split.dim] / split.blockCount
      let part = blockSize / tensorDegree
      shape.replaceSubrange(split.dim...split.dim, with: [split.blockCount, blockSize])
      ranges.replaceSubrange(
        split.dim...split.dim, with: [0..<split.blockCount, tensor * part..<(tensor + 1) * part])
    }
    self.init(shape: shape, ranges: ranges)
  }

  /// Elements of the slice.
  public var localCount: Int { ranges.reduce(1) { $0 * $1.count } }

  /// Whether it is the whole parameter.
  public var isWhole: Bool { localCount == shape.reduce(1, *) }

  /// The shape of the local parameter, whose whole has `parameterShape`.
  public func localShape(_ parameterShape: [Int], split: Parameter.TensorSplit?) -> [Int] {
    guard shape.count > parameterShape.count, let split else { return ranges.map(\.count) }
    var local = ranges.map(\.count)
    local.replaceSubrange(
      split.dim...(split.dim + 1), with: [local[split.dim] * local[split.dim + 1]])
    return local
  }

  /// The indices of all local elements in the whole parameter, as kernels take them.
  ///
  /// The rows of an expert slice are equally far apart: all dims between the experts and the one that is
  /// cut are whole.
  public var indices: SliceIndices {
    let (rowDim, below) = rows
    precondition(
      rowDim < 2 || (1..<rowDim).allSatisfy { ranges[$0].count == shape[$0] },
      "\(ranges) of \(shape) is no slice of equally spaced rows")
    var indices = SliceIndices(start: globalStart(ofRow: 0, rowDim: rowDim, below: below))
    guard rowDim > 0 else { return indices }
    indices.row = max(ranges[rowDim].count * below, 1)
    indices.gap = shape[rowDim] * below - indices.row
    return indices
  }

  /// The last dim that is not whole, and the elements of one of its places: a row is contiguous in the
  /// whole parameter.
  private var rows: (dim: Int, below: Int) {
    var rowDim = shape.count - 1
    while rowDim > 0 && ranges[rowDim].count == shape[rowDim] { rowDim -= 1 }
    return (rowDim, shape[(rowDim + 1)...].reduce(1, *))
  }

  /// The contiguous pieces of a range of local elements, ascending.
  public func runs(in range: Range<Int>) -> [Run] {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= localCount, "\(range) of \(localCount)")
    guard !range.isEmpty else { return [] }
    let (rowDim, below) = rows
    let rowCount = ranges[rowDim].count * below
    var runs: [Run] = []
    var local = range.lowerBound
    while local < range.upperBound {
      let row = local / rowCount
      let offset = local % rowCount
      let count = min(rowCount - offset, range.upperBound - local)
      let global = globalStart(ofRow: row, rowDim: rowDim, below: below) + offset
      if let last = runs.last, last.global + last.count == global {
        runs[runs.count - 1].count += count
      } else {
        runs.append(Run(local: local, global: global, count: count))
      }
      local += count
    }
    return runs
  }

  private func globalStart(ofRow row: Int, rowDim: Int, below: Int) -> Int {
    var rest = row
    var global = ranges[rowDim].lowerBound * below
    var step = shape[rowDim] * below
    for dim in stride(from: rowDim - 1, through: 0, by: -1) {
      let range = ranges[dim]
      global += (range.lowerBound + rest % range.count) * step
      rest /= range.count
      step *= shape[dim]
    }
    return global
  }
}

extension [ParameterSlice.Run] {
  /// The parts of the runs, which ascend, that lie in a range of the whole parameter.
  public func clamped(toGlobal range: Range<Int>) -> [ParameterSlice.Run] {
    // Slices across rows have a run a row: the first one in reach is searched for.
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].global + self[middle].count <= range.lowerBound {
        low = middle + 1
      } else {
        high = middle
      }
    }
    var parts: [ParameterSlice.Run] = []
    for run in self[low...] {
      if run.global >= range.upperBound { break }
      let part = (run.global..<run.global + run.count).clamped(to: range)
      if part.isEmpty { continue }
      parts.append(
        ParameterSlice.Run(
          local: run.local + part.lowerBound - run.global, global: part.lowerBound,
          count: part.count))
    }
    return parts
  }
}
