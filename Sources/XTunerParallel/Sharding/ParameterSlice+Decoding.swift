extension ParameterSlice {
  private enum Member: String, CodingKey {
    case shape, ranges
  }

  /// Elements of a parameter at most; sums of several stay far from overflow.
  private static let largestElementCount = 1 << 48

  /// Reads a slice that a file names.
  ///
  /// - Throws: `DecodingError` where it is no box of its shape, or where the shape is none that a
  ///   parameter has.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Member.self)
    let shape = try container.decode([Int].self, forKey: .shape)
    let ranges = try container.decode([Range<Int>].self, forKey: .ranges)
    func damaged(_ reason: String) -> DecodingError {
      .dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: reason))
    }
    guard !shape.isEmpty, shape.count == ranges.count else {
      throw damaged("a slice needs a shape and one range a dim, has \(shape) and \(ranges)")
    }
    var count = 1
    for (size, range) in zip(shape, ranges) {
      guard size >= 0, range.lowerBound >= 0, range.upperBound <= size else {
        throw damaged("\(range) is no part of a dim of \(size)")
      }
      let (product, isOverflowing) = count.multipliedReportingOverflow(by: size)
      guard !isOverflowing, product <= Self.largestElementCount else {
        throw damaged("no parameter has the shape \(shape)")
      }
      count = product
    }
    self.init(shape: shape, ranges: ranges)
  }
}
