/// What an order of packs depends on; a state can be restored only where all of it is the same.
public struct LoaderIdentity: Sendable, Equatable, Codable {
  /// A hash of all samples and weights.
  public var data: String
  /// Samples of all sources.
  public var sampleCount: Int
  /// The seed of the order.
  public var seed: UInt64
  /// Whether samples are mixed.
  public var isShuffled: Bool
  /// Mode, sequence length and look-ahead.
  public var packing: PackPlanner
  /// How packs change steps, in words; nil where they do not.
  public var grouping: String?
  /// The rules of the order; nil for the first ones, which states did not name.
  public var rules: DataRules?

  /// What differs from the identity that a state was saved with, for messages; empty if nothing.
  func differences(from saved: LoaderIdentity) -> [String] {
    var found: [String] = []
    let (own, other) = (rules ?? .version1, saved.rules ?? .version1)
    if own != other {
      found.append("rules of the order \(own.rawValue), were \(other.rawValue)")
    } else if sampleCount != saved.sampleCount {
      found.append("\(sampleCount) samples, were \(saved.sampleCount)")
    } else if data != saved.data {
      found.append("the samples' contents, labels or weights")
    }
    if seed != saved.seed {
      found.append("seed \(seed), was \(saved.seed)")
    }
    if isShuffled != saved.isShuffled {
      found.append("shuffle \(isShuffled), was \(saved.isShuffled)")
    }
    if packing != saved.packing {
      found.append("packing \(packing.summary), was \(saved.packing.summary)")
    }
    if grouping != saved.grouping {
      found.append(
        "steps \(grouping ?? "of packs as they come"), were \(saved.grouping ?? "as they come")")
    }
    return found
  }
}

extension PackPlanner {
  /// The options in a few words.
  var summary: String {
    "\(mode.rawValue) to \(sequenceLength) tokens, look-ahead \(lookAhead)"
  }
}

/// Where in the data a run is; says nothing about ranks or the step's size.
public struct LoaderState: Sendable, Equatable, Codable {
  /// The epoch of the next pack, from 0.
  public var epoch: Int
  /// Packs of that epoch that are done.
  public var packsConsumed: Int
  /// Samples finished since the start of the run, over all epochs and ranks.
  public var samplesConsumed: Int
  /// Tokens since the start of the run, over all epochs and ranks.
  public var tokensConsumed: Int
  /// What the position refers to; nil is accepted by any loader.
  public var identity: LoaderIdentity?

  /// Makes a state; without arguments the start of the data.
  public init(
    epoch: Int = 0, packsConsumed: Int = 0, samplesConsumed: Int = 0, tokensConsumed: Int = 0,
    identity: LoaderIdentity? = nil
  ) {
    self.epoch = epoch
    self.packsConsumed = packsConsumed
    self.samplesConsumed = samplesConsumed
    self.tokensConsumed = tokensConsumed
    self.identity = identity
  }
}
