/// Another store's samples, those longer than a limit cut into pieces of that length.
///
/// A last piece of a single token, which nothing precedes and so teaches nothing, is left out.
public struct SamplePieces: SampleStore {
  private let base: any SampleStore
  private let limit: Int
  /// For each piece its sample and its first token there.
  private var samples: [Int32] = []
  private var starts: [Int32] = []

  /// Makes a view of `base` with samples of at most `limit` tokens, which must be 2 or more.
  public init(of base: any SampleStore, limit: Int) {
    precondition(limit > 1, "pieces must have 2 tokens or more, have \(limit)")
    self.base = base
    self.limit = limit
    for sample in 0..<base.count {
      let length = base.length(at: sample)
      for start in stride(from: 0, to: max(length, 1), by: limit)
      where start == 0 || length - start > 1 {
        samples.append(Int32(sample))
        starts.append(Int32(start))
      }
    }
  }

  /// Pieces in the view.
  public var count: Int { samples.count }

  /// Tokens of a piece.
  public func length(at index: Int) -> Int { range(of: index).count }

  /// Tokens of a piece that carry loss; reads its labels where it is not a whole sample.
  public func lossTokenCount(at index: Int) -> Int {
    guard isCut(index) else { return base.lossTokenCount(at: Int(samples[index])) }
    return tokensAndLabels(at: index).labels.count { $0 != TokenizedSample.ignoredLabel }
  }

  /// A hash of the whole sample's token ids and the place of the piece in it.
  public func contentHash(at index: Int) -> UInt64 {
    let hash = base.contentHash(at: Int(samples[index]))
    return isCut(index) ? SplitMix64.mixed(hash &+ UInt64(starts[index]) &+ 1) : hash
  }

  /// A hash of the loss flags in `range` of a piece.
  public func labelHash(at index: Int, range: Range<Int>) -> UInt64 {
    base.labelHash(at: Int(samples[index]), range: global(range, in: index))
  }

  /// The sample's record, if the base knows it.
  public func origin(at index: Int) -> SampleOrigin? { base.origin(at: Int(samples[index])) }

  /// Appends tokens `range` of a piece and their labels.
  public func append(
    at index: Int, range: Range<Int>, tokens: inout [Int32], labels: inout [Int32]
  ) {
    base.append(
      at: Int(samples[index]), range: global(range, in: index), tokens: &tokens, labels: &labels)
  }

  private func isCut(_ index: Int) -> Bool { base.length(at: Int(samples[index])) > limit }

  private func range(of index: Int) -> Range<Int> {
    let start = Int(starts[index])
    return start..<min(start + limit, base.length(at: Int(samples[index])))
  }

  private func global(_ range: Range<Int>, in index: Int) -> Range<Int> {
    let whole = self.range(of: index)
    precondition(
      range.lowerBound >= 0 && range.upperBound <= whole.count, "range is not in the piece")
    return whole.lowerBound + range.lowerBound..<whole.lowerBound + range.upperBound
  }
}
