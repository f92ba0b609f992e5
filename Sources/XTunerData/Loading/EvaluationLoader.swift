/// The packs of a held-out set, always the same ones in the same order, once through.
///
/// A pack holds samples of one source only, so that a loss belongs to a source. Samples follow one
/// another in file order into the packs; nothing is mixed or dropped.
public struct EvaluationLoader: Sendable, Sequence {
  /// The names of the sources; a pack's `sources` are indices into them.
  public let sourceNames: [String]
  private let table: SampleTable
  private let plans: [PackPlan]
  private let places: [Place]

  /// A pack of a source's plan.
  fileprivate struct Place: Sendable {
    var source: Int
    var pack: Int
  }

  /// Makes a loader of every sample once; weights do not count.
  ///
  /// - Parameters:
  ///   - sources: The held-out samples.
  ///   - packing: Mode, sequence length and look-ahead.
  ///   - packLimit: Uses a sample of so many packs over all sources, which depends on the data only;
  ///     nil uses all.
  /// - Throws: `LoaderError` when there are no samples with tokens, or one is too long for the
  ///   packing mode.
  public init(
    sources: [DataSource], packing: PackPlanner, packLimit: Int? = nil
  ) throws(LoaderError) {
    let table = try SampleTable(sources)
    var plans: [PackPlan] = []
    for source in sources.indices {
      let order = table.samples(ofSource: source).map { Int32($0) }
      plans.append(try packing.plan(lengths: table.lengths, order: order))
    }
    let packCount = plans.reduce(0) { $0 + $1.packCount }
    guard packCount > 0, packLimit.map({ $0 > 0 }) ?? true else {
      throw LoaderError(
        .emptyData,
        "evaluation data: no packs (\(table.lengths.count) samples, limit \(packLimit ?? 0))")
    }
    self.table = table
    self.plans = plans
    places = Self.places(in: plans, limit: Swift.min(packCount, packLimit ?? packCount))
    sourceNames = sources.map(\.name)
  }

  private init(_ other: EvaluationLoader, places: [Place]) {
    table = other.table
    plans = other.plans
    sourceNames = other.sourceNames
    self.places = places
  }

  /// Packs that an iteration gives.
  public var packCount: Int { places.count }

  /// One of several ranks' part: consecutive packs, counts that differ by at most one.
  public func slice(rank: Int, of rankCount: Int) -> EvaluationLoader {
    EvaluationLoader(self, places: Array(rankSlice(places, rank: rank, of: rankCount)))
  }

  /// Starts from the first pack.
  public func makeIterator() -> Iterator {
    Iterator(table: table, plans: plans, places: places[...])
  }

  /// `limit` packs: one of each source while there is room, then from each the same share.
  ///
  /// Packs of a source are drawn at random, since best fit lays the longest samples out first. The
  /// draw is the same for every run, so that runs of different seeds can be compared.
  private static func places(in plans: [PackPlan], limit: Int) -> [Place] {
    var drawn: [(share: Double, place: Place)] = []
    for (source, plan) in plans.enumerated() {
      var order = (0..<Int32(plan.packCount)).map { $0 }
      var generator = SplitMix64(seed: 0, keys: 5, UInt64(source))
      generator.shuffle(&order)
      for (rank, pack) in order.enumerated() {
        let share = rank == 0 ? 0 : (Double(rank) + 0.5) / Double(plan.packCount)
        drawn.append((share, Place(source: source, pack: Int(pack))))
      }
    }
    drawn.sort { first, second in
      // Among the first packs of sources that of the largest source comes first.
      let sizes = (plans[first.place.source].packCount, plans[second.place.source].packCount)
      return (first.share, -sizes.0, first.place.source, first.place.pack)
        < (second.share, -sizes.1, second.place.source, second.place.pack)
    }
    return drawn.prefix(limit).map(\.place).sorted { ($0.source, $0.pack) < ($1.source, $1.pack) }
  }

  /// Gives the packs one after another.
  public struct Iterator: IteratorProtocol {
    fileprivate let table: SampleTable
    fileprivate let plans: [PackPlan]
    fileprivate var places: ArraySlice<Place>

    /// The next pack; nil at the end.
    public mutating func next() -> Pack? {
      places.popFirst().map { table.pack(plans[$0.source].pieces(inPack: $0.pack)) }
    }
  }
}
