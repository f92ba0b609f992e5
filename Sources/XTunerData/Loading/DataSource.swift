/// Samples with a name and a share in the training data.
public struct DataSource: Sendable {
  /// The name in messages and metrics.
  public var name: String
  /// The samples.
  public var samples: any SampleStore
  /// How often each sample is seen an epoch: 0 never, 0.5 every other epoch, 2 twice.
  public var weight: Double

  /// Makes a source.
  public init(name: String, samples: any SampleStore, weight: Double = 1) {
    self.name = name
    self.samples = samples
    self.weight = weight
  }

  /// The source with samples of more than `limit` tokens in pieces of that length.
  public func cut(toAtMost limit: Int) -> DataSource {
    let isFitting = (0..<samples.count).allSatisfy { samples.length(at: $0) <= limit }
    return isFitting
      ? self
      : DataSource(name: name, samples: SamplePieces(of: samples, limit: limit), weight: weight)
  }
}

/// All sources' samples under one index.
struct SampleTable: Sendable {
  let sources: [DataSource]
  /// Tokens of every sample of every source.
  let lengths: [Int32]
  /// The first sample of each source, and the end.
  let bases: [Int]

  init(_ sources: [DataSource]) throws(LoaderError) {
    var lengths: [Int32] = []
    var bases = [0]
    for source in sources {
      let total = lengths.count + source.samples.count
      guard total <= Int(Int32.max) else {
        throw LoaderError(
          .tooManySamples, "data: \(total) samples or more; at most \(Int32.max) are possible")
      }
      lengths.reserveCapacity(total)
      for index in 0..<source.samples.count {
        lengths.append(Int32(source.samples.length(at: index)))
      }
      bases.append(lengths.count)
    }
    self.sources = sources
    self.lengths = lengths
    self.bases = bases
  }

  var counts: [Int] { sources.map(\.samples.count) }

  var weights: [Double] { sources.map(\.weight) }

  /// Samples of one source, as indices over all sources.
  func samples(ofSource source: Int) -> Range<Int> { bases[source]..<bases[source + 1] }

  /// A number that changes with any sample, its labels, their order, or a weight; hexadecimal.
  ///
  /// By the first rules it does not change with labels.
  func fingerprint(_ rules: DataRules) -> String {
    var hash: UInt64 = 0
    for source in sources {
      let samples = source.samples
      hash = SplitMix64.mixed(hash ^ source.weight.bitPattern)
      for index in 0..<samples.count {
        hash = SplitMix64.mixed(hash &+ samples.contentHash(at: index))
        guard rules != .version1 else { continue }
        let labels = samples.labelHash(at: index, range: 0..<samples.length(at: index))
        hash = SplitMix64.mixed(hash &+ labels)
      }
    }
    return String(hash, radix: 16)
  }

  func length(of sample: Int) -> Int { Int(lengths[sample]) }

  /// Copies the pieces' tokens and labels into a pack.
  func pack(_ pieces: [PackPiece]) -> Pack {
    let tokenCount = pieces.reduce(0) { $0 + $1.length }
    var tokens: [Int32] = []
    var labels: [Int32] = []
    tokens.reserveCapacity(tokenCount)
    labels.reserveCapacity(tokenCount)
    var pieceSources: [Int32] = []
    for piece in pieces {
      let source = source(of: piece.sample)
      sources[source].samples.append(
        at: piece.sample - bases[source], range: piece.start..<(piece.start + piece.length),
        tokens: &tokens, labels: &labels)
      pieceSources.append(Int32(source))
    }
    return Pack(
      tokens: tokens, labels: labels, sampleLengths: pieces.map { Int32($0.length) },
      sources: pieceSources)
  }

  /// The source that holds a sample, by bisection.
  func source(of sample: Int) -> Int {
    var low = 0
    var high = sources.count - 1
    while low < high {
      let middle = (low + high + 1) / 2
      if bases[middle] <= sample {
        low = middle
      } else {
        high = middle - 1
      }
    }
    return low
  }
}
