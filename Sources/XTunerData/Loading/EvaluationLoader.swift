/// The packs of a held-out set, always the same ones in the same order, once through.
///
/// Samples follow one another in file order into the packs; nothing is mixed or dropped.
public struct EvaluationLoader: Sendable, Sequence {
  /// The names of the sources; a pack's `sources` are indices into them.
  public let sourceNames: [String]
  private let table: SampleTable
  private let plan: PackPlan
  private let packs: Range<Int>

  /// Makes a loader of every sample once; weights do not count.
  ///
  /// - Parameters:
  ///   - sources: The held-out samples.
  ///   - packing: Mode, sequence length and look-ahead.
  ///   - packLimit: Uses only the first packs; nil uses all.
  /// - Throws: `LoaderError` when there are no samples with tokens, or one is too long for the
  ///   packing mode.
  public init(
    sources: [DataSource], packing: PackPlanner, packLimit: Int? = nil
  ) throws(LoaderError) {
    table = try SampleTable(sources)
    let order = (0..<table.lengths.count).map { Int32($0) }
    plan = try packing.plan(lengths: table.lengths, order: order)
    guard plan.packCount > 0, packLimit.map({ $0 > 0 }) ?? true else {
      throw LoaderError(
        .emptyData,
        "evaluation data: no packs (\(table.lengths.count) samples, limit \(packLimit ?? 0))")
    }
    packs = 0..<Swift.min(plan.packCount, packLimit ?? .max)
    sourceNames = sources.map(\.name)
  }

  private init(_ other: EvaluationLoader, packs: Range<Int>) {
    table = other.table
    plan = other.plan
    sourceNames = other.sourceNames
    self.packs = packs
  }

  /// Packs that an iteration gives.
  public var packCount: Int { packs.count }

  /// One of several ranks' part: consecutive packs, counts that differ by at most one.
  public func slice(rank: Int, of rankCount: Int) -> EvaluationLoader {
    let own = rankSlice(Array(packs), rank: rank, of: rankCount)
    return EvaluationLoader(self, packs: (own.first ?? 0)..<((own.last ?? -1) + 1))
  }

  /// Starts from the first pack.
  public func makeIterator() -> Iterator {
    Iterator(table: table, plan: plan, packs: packs)
  }

  /// Gives the packs one after another.
  public struct Iterator: IteratorProtocol {
    fileprivate let table: SampleTable
    fileprivate let plan: PackPlan
    fileprivate var packs: Range<Int>

    /// The next pack; nil at the end.
    public mutating func next() -> Pack? {
      packs.popFirst().map { table.pack(plan.pieces(inPack: $0)) }
    }
  }
}
