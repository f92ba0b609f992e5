/// Lays an epoch's samples into packs; a pure function of its options, the lengths and the order.
public struct PackPlanner: Sendable, Equatable, Codable {
  /// How samples are laid into packs.
  public var mode: PackingMode
  /// The most tokens that a pack holds.
  public var sequenceLength: Int
  /// How far `bestFit` looks ahead of the first sample that is not yet packed, in samples.
  public var lookAhead: Int

  /// 4,096 samples: it fills 99.93 % of the room for ten million log-normal lengths (median 400,
  /// sigma 1, packs of 4,096), 65,536 fill no more, and a sample stays near its place in the order.
  public static let defaultLookAhead = 4096

  /// Makes a planner; `plan` checks the values.
  public init(mode: PackingMode, sequenceLength: Int, lookAhead: Int = defaultLookAhead) {
    self.mode = mode
    self.sequenceLength = sequenceLength
    self.lookAhead = lookAhead
  }

  /// The packs for the samples `order`, an index into `lengths` each, repeats allowed.
  ///
  /// Samples of length 0 are left out and counted. Throws when a sample is longer than the sequence
  /// length in a mode that does not cut samples. An empty order gives an empty plan.
  public func plan(lengths: [Int32], order: [Int32]) throws(LoaderError) -> PackPlan {
    guard sequenceLength > 0, sequenceLength <= Int(Int32.max) else {
      throw LoaderError(
        .invalidOption, "sequence length: must be from 1 to \(Int32.max), is \(sequenceLength)")
    }
    guard lookAhead > 0 else {
      throw LoaderError(.invalidOption, "look-ahead: must be positive, is \(lookAhead)")
    }
    switch mode {
    case .bestFit:
      try checkLengths(lengths: lengths, order: order)
      return bestFit(lengths: lengths, order: order)
    case .split:
      return split(lengths: lengths, order: order)
    case .none:
      try checkLengths(lengths: lengths, order: order)
      return oneEach(lengths: lengths, order: order)
    }
  }

  private func checkLengths(lengths: [Int32], order: [Int32]) throws(LoaderError) {
    for sample in order where Int(lengths[Int(sample)]) > sequenceLength {
      throw LoaderError(
        .sampleTooLong,
        """
        sample \(sample) has \(lengths[Int(sample)]) tokens, more than the sequence length \
        \(sequenceLength): truncate or drop over-long samples, or use packing mode "split"
        """)
    }
  }

  /// O(n log64 sequenceLength): each sample enters and leaves the pool once.
  private func bestFit(lengths: [Int32], order: [Int32]) -> PackPlan {
    var plan = PackPlan(sequenceLength: sequenceLength)
    plan.reserve(pieceCount: order.count)
    let longest = order.reduce(0) { max($0, Int(lengths[Int($1)])) }
    var pool = LengthPool(longest: longest, positionCount: order.count)
    var isPlaced = [Bool](repeating: false, count: order.count)
    var oldest = 0
    var poolEnd = 0
    while true {
      while oldest < order.count && isPlaced[oldest] { oldest += 1 }
      guard oldest < order.count else { break }
      while poolEnd < order.count && poolEnd - oldest < lookAhead {
        let length = Int(lengths[Int(order[poolEnd])])
        if length == 0 {
          isPlaced[poolEnd] = true
          plan.emptySampleCount += 1
        } else {
          pool.insert(position: poolEnd, length: length)
        }
        poolEnd += 1
      }
      // Starting with the oldest bounds how late a sample can come: no sample starves. It heads the
      // list of its length, because every earlier position is placed.
      var next: Int? = isPlaced[oldest] ? nil : Int(lengths[Int(order[oldest])])
      var room = sequenceLength
      while let length = next {
        let position = pool.removeFirst(length: length)
        isPlaced[position] = true
        plan.append(sample: order[position], length: Int32(length))
        room -= length
        next = room > 0 ? pool.longest(atMost: min(room, longest)) : nil
      }
      plan.endPack()
    }
    return plan
  }

  private func split(lengths: [Int32], order: [Int32]) -> PackPlan {
    var plan = PackPlan(sequenceLength: sequenceLength)
    plan.reserve(pieceCount: order.count)
    var room = Int32(sequenceLength)
    for sample in order {
      let length = lengths[Int(sample)]
      if length == 0 {
        plan.emptySampleCount += 1
      }
      var start: Int32 = 0
      while start < length {
        let taken = min(room, length - start)
        plan.append(sample: sample, start: start, length: taken)
        start += taken
        room -= taken
        if room == 0 {
          plan.endPack()
          room = Int32(sequenceLength)
        }
      }
    }
    plan.endPack()
    return plan
  }

  private func oneEach(lengths: [Int32], order: [Int32]) -> PackPlan {
    var plan = PackPlan(sequenceLength: sequenceLength)
    plan.reserve(pieceCount: order.count)
    for sample in order {
      let length = lengths[Int(sample)]
      if length == 0 {
        plan.emptySampleCount += 1
        continue
      }
      plan.append(sample: sample, length: length)
      plan.endPack()
    }
    return plan
  }
}
