/// The figures of one source, or of all together.
public struct SourceStatistics: Sendable, Equatable, Codable {
  /// The source's name.
  public var name: String
  /// How often each sample is seen an epoch.
  public var weight: Double
  /// Samples.
  public var samples: Int
  /// Tokens in them.
  public var tokens: Int
  /// Tokens that carry loss.
  public var lossTokens: Int
  /// The spread of sample lengths.
  public var lengths: LengthStatistics
  /// What became of the records; nil when it is not known.
  public var counts: TokenizingCounts?

  /// The share of tokens that carry no loss; 0 without tokens.
  public var maskedTokenShare: Double {
    tokens == 0 ? 0 : 1 - Double(lossTokens) / Double(tokens)
  }
}

/// The figures of one packing mode over one epoch.
public struct PackingStatistics: Sendable, Equatable, Codable {
  /// The mode.
  public var mode: PackingMode
  /// Packs of an epoch.
  public var packs: Int
  /// The share of the packs' room that holds tokens.
  public var efficiency: Double
  /// Samples, or pieces of them, a pack.
  public var piecesPerPack: Double
  /// Why the mode cannot be used with this data; nil when it can.
  public var problem: String?
}

/// Lengths, masks and packing of a data set, for people and programs.
public struct DataStatistics: Sendable, Equatable, Codable {
  /// The most tokens that a pack holds.
  public var sequenceLength: Int
  /// Each source.
  public var sources: [SourceStatistics]
  /// All sources together, each sample once.
  public var total: SourceStatistics
  /// Each packing mode, over the first epoch.
  public var packing: [PackingStatistics]

  /// Reads every sample's length and plans one epoch in each mode.
  ///
  /// A sample too long for a mode is not an error; the mode's `problem` says it, unless
  /// `cutsLongSamples` says that such a mode would get it in pieces.
  ///
  /// - Parameters:
  ///   - sources: The samples.
  ///   - counts: What became of each source's records; empty when it is not known.
  ///   - sequenceLength: The most tokens that a pack holds.
  ///   - lookAhead: How far best fit looks ahead, in samples.
  ///   - cutsLongSamples: Whether modes that keep samples whole get long ones in pieces.
  ///   - seed: The seed of the order.
  /// - Throws: `LoaderError` for empty data and options that cannot work.
  public init(
    sources: [DataSource], counts: [TokenizingCounts] = [], sequenceLength: Int,
    lookAhead: Int = PackPlanner.defaultLookAhead, cutsLongSamples: Bool = false, seed: UInt64 = 0
  ) throws(LoaderError) {
    let table = try SampleTable(sources)
    self.sequenceLength = sequenceLength
    self.sources = sources.enumerated().map { index, source in
      Self.statistics(of: source, counts: index < counts.count ? counts[index] : nil)
    }
    total = Self.total(of: self.sources, lengths: table.lengths, hasCounts: !counts.isEmpty)
    packing = []
    for mode in PackingMode.allCases {
      let planner = PackPlanner(mode: mode, sequenceLength: sequenceLength, lookAhead: lookAhead)
      let isCut = cutsLongSamples && mode != .split && sequenceLength > 1
      let laid = try isCut ? SampleTable(sources.map { $0.cut(toAtMost: sequenceLength) }) : table
      packing.append(try Self.statistics(of: planner, table: laid, seed: seed))
    }
  }

  private static func statistics(
    of source: DataSource, counts: TokenizingCounts?
  ) -> SourceStatistics {
    let samples = source.samples
    let lengths = (0..<samples.count).map { Int32(samples.length(at: $0)) }
    return SourceStatistics(
      name: source.name, weight: source.weight, samples: samples.count,
      tokens: lengths.reduce(0) { $0 + Int($1) },
      lossTokens: (0..<samples.count).reduce(0) { $0 + samples.lossTokenCount(at: $1) },
      lengths: LengthStatistics(lengths), counts: counts)
  }

  private static func total(
    of sources: [SourceStatistics], lengths: [Int32], hasCounts: Bool
  ) -> SourceStatistics {
    var counts = TokenizingCounts()
    for source in sources {
      counts += source.counts ?? TokenizingCounts()
    }
    return SourceStatistics(
      name: "total", weight: 1, samples: sources.reduce(0) { $0 + $1.samples },
      tokens: sources.reduce(0) { $0 + $1.tokens },
      lossTokens: sources.reduce(0) { $0 + $1.lossTokens },
      lengths: LengthStatistics(lengths), counts: hasCounts ? counts : nil)
  }

  private static func statistics(
    of planner: PackPlanner, table: SampleTable, seed: UInt64
  ) throws(LoaderError) -> PackingStatistics {
    let order = try EpochOrder(seed: seed).samples(
      counts: table.counts, weights: table.weights, epoch: 0)
    do throws(LoaderError) {
      let plan = try planner.plan(lengths: table.lengths, order: order)
      return PackingStatistics(
        mode: planner.mode, packs: plan.packCount, efficiency: plan.efficiency,
        piecesPerPack: plan.packCount == 0
          ? 0 : Double(plan.pieceCount) / Double(plan.packCount), problem: nil)
    } catch  where error.code == .sampleTooLong {
      return PackingStatistics(
        mode: planner.mode, packs: 0, efficiency: 0, piecesPerPack: 0, problem: error.message)
    }
  }
}
