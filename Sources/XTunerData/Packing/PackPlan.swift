/// A piece of a sample in a pack.
public struct PackPiece: Sendable, Equatable {
  /// The index of the sample over all sources.
  public var sample: Int
  /// The sample's token at which the piece starts; not 0 only for a sample cut by `split`.
  public var start: Int
  /// Tokens of the piece; at least 1.
  public var length: Int

  /// Makes a piece of `length` tokens from token `start` of a sample.
  public init(sample: Int, start: Int, length: Int) {
    self.sample = sample
    self.start = start
    self.length = length
  }
}

/// Which pieces of which samples make up each pack, as flat arrays.
public struct PackPlan: Sendable, Equatable {
  /// The most tokens that a pack holds.
  public let sequenceLength: Int
  /// Tokens in all packs.
  public private(set) var tokenCount = 0
  /// Samples of length 0, which are in no pack.
  public internal(set) var emptySampleCount = 0

  /// For each pack the index of its first piece; one more entry at the end.
  private(set) var packStarts: [Int32] = [0]
  private(set) var samples: [Int32] = []
  private(set) var lengths: [Int32] = []
  /// Empty as long as every piece is a whole sample.
  private(set) var starts: [Int32] = []
  /// The pack at each place of the order; empty as long as packs stand as they were laid out.
  private var places: [Int32] = []

  init(sequenceLength: Int) {
    self.sequenceLength = sequenceLength
  }

  /// Packs in the plan.
  public var packCount: Int { packStarts.count - 1 }

  /// Pieces in the plan.
  public var pieceCount: Int { samples.count }

  /// The share of the packs' room that holds tokens: 1 is perfect, 0 for an empty plan.
  public var efficiency: Double {
    packCount == 0 ? 0 : Double(tokenCount) / (Double(packCount) * Double(sequenceLength))
  }

  /// The pieces of one pack, in order.
  public func pieces(inPack pack: Int) -> [PackPiece] {
    pieceRange(ofPack: pack).map { piece in
      PackPiece(
        sample: Int(samples[piece]), start: starts.isEmpty ? 0 : Int(starts[piece]),
        length: Int(lengths[piece]))
    }
  }

  /// The lengths of a pack's pieces, in order.
  public func pieceLengths(inPack pack: Int) -> [Int32] {
    Array(lengths[pieceRange(ofPack: pack)])
  }

  /// The pieces of a pack, counted.
  func pieceCount(inPack pack: Int) -> Int { pieceRange(ofPack: pack).count }

  /// The same packs in another order, a permutation of their indices; four bytes a pack.
  func reordered(_ order: [Int32]) -> PackPlan {
    precondition(order.count == packCount, "\(order.count) places for \(packCount) packs")
    var plan = self
    plan.places = places.isEmpty ? order : order.map { places[Int($0)] }
    return plan
  }

  private func pieceRange(ofPack pack: Int) -> Range<Int> {
    let place = places.isEmpty ? pack : Int(places[pack])
    return Int(packStarts[place])..<Int(packStarts[place + 1])
  }

  mutating func reserve(pieceCount: Int) {
    samples.reserveCapacity(pieceCount)
    lengths.reserveCapacity(pieceCount)
  }

  mutating func append(sample: Int32, length: Int32) {
    samples.append(sample)
    lengths.append(length)
    tokenCount += Int(length)
  }

  mutating func append(sample: Int32, start: Int32, length: Int32) {
    append(sample: sample, length: length)
    starts.append(start)
  }

  /// Ends the current pack; does nothing when it has no pieces.
  mutating func endPack() {
    guard Int(packStarts[packStarts.count - 1]) < samples.count else { return }
    packStarts.append(Int32(samples.count))
  }
}
