/// Where a sample's record stands.
public struct SampleOrigin: Sendable, Equatable {
  /// The file's path, as the reader gave it.
  public var file: String
  /// The record's line, from 1.
  public var line: Int

  /// Makes an origin.
  public init(file: String, line: Int) {
    self.file = file
    self.line = line
  }
}

/// Tokenised samples by index, read from any thread.
public protocol SampleStore: Sendable {
  /// Samples in the store.
  var count: Int { get }
  /// Tokens of a sample.
  func length(at index: Int) -> Int
  /// Tokens of a sample that carry loss.
  func lossTokenCount(at index: Int) -> Int
  /// A hash of the sample's token ids: equal samples have equal hashes.
  func contentHash(at index: Int) -> UInt64
  /// A hash of which tokens of `range` are labels: equal flags have equal hashes.
  func labelHash(at index: Int, range: Range<Int>) -> UInt64
  /// The sample's record, if it is known.
  func origin(at index: Int) -> SampleOrigin?
  /// Appends tokens `range` of a sample and their labels: the token itself or -100.
  ///
  /// The first token of the range gets -100, as nothing before it is in the pack.
  func append(
    at index: Int, range: Range<Int>, tokens: inout [Int32], labels: inout [Int32])
}

extension SampleStore {
  /// A whole sample as tokens and labels (-100: no loss).
  public func tokensAndLabels(at index: Int) -> (tokens: [Int32], labels: [Int32]) {
    var tokens: [Int32] = []
    var labels: [Int32] = []
    append(at: index, range: 0..<length(at: index), tokens: &tokens, labels: &labels)
    return (tokens, labels)
  }
}

/// The hash of a sample's ids: FNV-1a over whole ids, then mixed so that every bit is usable.
func contentHash(of tokens: [Int32]) -> UInt64 {
  var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  for token in tokens {
    hash = (hash ^ UInt64(UInt32(bitPattern: token))) &* 0x0000_0100_0000_01B3
  }
  return SplitMix64.mixed(hash)
}

/// The hash of loss flags, given as words of 64, lowest bit first and zeros behind the last one.
func labelHash(bitCount: Int, word: (Int) -> UInt64) -> UInt64 {
  var hash = SplitMix64.mixed(UInt64(bitCount) &+ 1)
  for index in 0..<(bitCount + 63) / 64 {
    hash = SplitMix64.mixed(hash &+ word(index))
  }
  return hash
}

/// Some of another store's samples, in the order of `indices`.
public struct SampleSubset: SampleStore {
  private let base: any SampleStore
  private let indices: [Int32]

  /// Makes a view of samples `indices` of `base`.
  public init(of base: any SampleStore, indices: [Int32]) {
    self.base = base
    self.indices = indices
  }

  /// Samples in the view.
  public var count: Int { indices.count }

  /// Tokens of a sample.
  public func length(at index: Int) -> Int { base.length(at: Int(indices[index])) }

  /// Tokens of a sample that carry loss.
  public func lossTokenCount(at index: Int) -> Int {
    base.lossTokenCount(at: Int(indices[index]))
  }

  /// A hash of the sample's token ids.
  public func contentHash(at index: Int) -> UInt64 { base.contentHash(at: Int(indices[index])) }

  /// A hash of which tokens of `range` are labels.
  public func labelHash(at index: Int, range: Range<Int>) -> UInt64 {
    base.labelHash(at: Int(indices[index]), range: range)
  }

  /// The sample's record, if the base knows it.
  public func origin(at index: Int) -> SampleOrigin? { base.origin(at: Int(indices[index])) }

  /// Appends tokens `range` of a sample and their labels.
  public func append(
    at index: Int, range: Range<Int>, tokens: inout [Int32], labels: inout [Int32]
  ) {
    base.append(at: Int(indices[index]), range: range, tokens: &tokens, labels: &labels)
  }
}
