/// The spread of sample lengths, in tokens.
public struct LengthStatistics: Sendable, Equatable, Codable {
  /// Samples whose length is within bounds.
  public struct Bin: Sendable, Equatable, Codable {
    /// The shortest length counted.
    public var minimum: Int
    /// The longest length counted.
    public var maximum: Int
    /// Samples.
    public var count: Int
  }

  /// The shortest.
  public var minimum: Int
  /// The mean.
  public var mean: Double
  /// Half of the samples are at most this long.
  public var p50: Int
  /// 90 % of the samples are at most this long.
  public var p90: Int
  /// 99 % of the samples are at most this long.
  public var p99: Int
  /// The longest.
  public var maximum: Int
  /// Counts for 0, 1, 2-3, 4-7 and so on, from the first to the last that is not empty.
  public var histogram: [Bin]

  /// The statistics of lengths in any order; all zero when there are none.
  public init(_ lengths: [Int32]) {
    let sorted = lengths.sorted()
    // The nearest-rank percentile: a length that occurs, never an interpolated one.
    func percentile(_ share: Double) -> Int {
      guard !sorted.isEmpty else { return 0 }
      let rank = Int((share * Double(sorted.count)).rounded(.up))
      return Int(sorted[max(rank, 1) - 1])
    }
    minimum = Int(sorted.first ?? 0)
    maximum = Int(sorted.last ?? 0)
    let total = sorted.reduce(0) { $0 + Int($1) }
    mean = sorted.isEmpty ? 0 : Double(total) / Double(sorted.count)
    p50 = percentile(0.5)
    p90 = percentile(0.9)
    p99 = percentile(0.99)
    histogram = Self.histogram(ofSorted: sorted)
  }

  private static func histogram(ofSorted sorted: [Int32]) -> [Bin] {
    guard let shortest = sorted.first, let longest = sorted.last else { return [] }
    func bin(_ length: Int32) -> Int { Int32.bitWidth - length.leadingZeroBitCount }
    var bins = (bin(shortest)...bin(longest)).map { bits in
      Bin(minimum: bits == 0 ? 0 : 1 << (bits - 1), maximum: (1 << bits) - 1, count: 0)
    }
    for length in sorted {
      bins[bin(length) - bin(shortest)].count += 1
    }
    return bins
  }
}
