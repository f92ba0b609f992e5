/// The order of an epoch's samples: a function of (seed, epoch, counts, weights) and nothing else.
///
/// A source of weight `w` gives `round(w * count)` samples an epoch. They are consecutive slices of
/// one endless row of permutations of the source, so that a source of weight 0.3 shows each sample
/// three times in ten epochs, and one of weight 2 each sample exactly twice an epoch.
public struct EpochOrder: Sendable, Equatable {
  /// The run's seed.
  public var seed: UInt64
  /// Whether samples are mixed; otherwise sources follow one another in file order.
  public var isShuffled: Bool

  /// Makes an order from the run's seed.
  public init(seed: UInt64, isShuffled: Bool = true) {
    self.seed = seed
    self.isShuffled = isShuffled
  }

  /// The sample indices of `epoch`, in order; index 0 is the first sample of the first source.
  ///
  /// Throws when counts and weights do not match, a weight is negative or not finite, nothing is
  /// left, or more than 2^31 - 1 samples result.
  public func samples(
    counts: [Int], weights: [Double], epoch: Int
  ) throws(LoaderError) -> [Int32] {
    let takes = try takeCounts(counts: counts, weights: weights)
    var order: [Int32] = []
    order.reserveCapacity(takes.reduce(0, +))
    var base = 0
    for (source, count) in counts.enumerated() {
      appendSlice(
        of: source, count: count, base: base, start: epoch * takes[source], length: takes[source],
        to: &order)
      base += count
    }
    if isShuffled {
      var generator = SplitMix64(seed: seed, keys: 1, UInt64(epoch))
      generator.shuffle(&order)
    }
    return order
  }

  private func takeCounts(counts: [Int], weights: [Double]) throws(LoaderError) -> [Int] {
    guard counts.count == weights.count else {
      throw LoaderError(
        .invalidOption, "weights: there are \(weights.count) for \(counts.count) sources")
    }
    for (source, weight) in weights.enumerated() where !(weight >= 0 && weight <= 1e6) {
      throw LoaderError(
        .invalidOption, "weight of source \(source): must be between 0 and 1e6, is \(weight)")
    }
    let takes = zip(counts, weights).map { count, weight in
      Int((Double(count) * weight).rounded())
    }
    let total = takes.reduce(0, +)
    guard total > 0 else {
      throw LoaderError(
        .emptyData,
        "data: no samples (sources hold \(counts) samples with weights \(weights))")
    }
    guard total <= Int(Int32.max), counts.reduce(0, +) <= Int(Int32.max) else {
      throw LoaderError(
        .tooManySamples,
        """
        data: \(max(total, counts.reduce(0, +))) samples an epoch; at most \(Int32.max) are possible
        """)
    }
    return takes
  }

  /// Appends elements `start..<start + length` of the source's endless row of permutations.
  private func appendSlice(
    of source: Int, count: Int, base: Int, start: Int, length: Int, to order: inout [Int32]
  ) {
    var position = start
    let end = start + length
    while position < end {
      let cycle = position / count
      let first = position - cycle * count
      let last = min(count, end - cycle * count)
      if isShuffled && last - first < count {
        var cycleOrder = (0..<count).map { Int32(base + $0) }
        var generator = SplitMix64(seed: seed, keys: 2, UInt64(source), UInt64(cycle))
        generator.shuffle(&cycleOrder)
        order.append(contentsOf: cycleOrder[first..<last])
      } else {
        // A whole cycle holds every sample once; the epoch's own shuffle mixes it.
        for sample in first..<last {
          order.append(Int32(base + sample))
        }
      }
      position = cycle * count + last
    }
  }
}
