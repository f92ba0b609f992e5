/// How the ranks of a run are laid out: the size of every axis, and each rank's place on it.
///
/// From the outside in, a rank is `replicateIndex * shard + shardIndex`. Dense parameters are
/// sharded over the whole shard axis. For experts the same axis is seen as
/// `(expertShardIndex * expert + expertIndex) * expertTensor + tensorIndex`, so ranks that exchange
/// rows lie side by side. Ranks that share the tokens of a pack lie side by side too:
/// `shardIndex = sequenceGroup * sequence + sequenceIndex`.
public struct ParallelLayout: Sendable, Hashable, Codable {
  /// All ranks.
  public var worldSize: Int
  /// Copies of the model.
  public var replicate: Int
  /// Ranks that share one copy.
  public var shard: Int
  /// Ranks that the experts of a layer are divided among, whole experts each.
  public var expert: Int
  /// Ranks that each expert's width is divided among.
  public var expertTensor: Int
  /// Ranks that the tokens of a pack are divided among.
  public var sequence: Int

  /// One process.
  public static let single = ParallelLayout(worldSize: 1)

  /// A layout, which ``problems(expertCount:expertSize:headCount:keyValueHeadCount:)`` checks.
  ///
  /// - Parameters:
  ///   - worldSize: All ranks.
  ///   - replicate: Copies of the model.
  ///   - shard: Ranks that share a copy; nil for all of `worldSize / replicate`.
  ///   - expert: Ranks that the experts are divided among.
  ///   - expertTensor: Ranks that each expert's width is divided among.
  ///   - sequence: Ranks that the tokens of a pack are divided among.
  public init(
    worldSize: Int, replicate: Int = 1, shard: Int? = nil, expert: Int = 1, expertTensor: Int = 1,
    sequence: Int = 1
  ) {
    self.worldSize = worldSize
    self.replicate = replicate
    self.shard = shard ?? worldSize / max(replicate, 1)
    self.expert = expert
    self.expertTensor = expertTensor
    self.sequence = sequence
  }

  /// Ranks that share the same experts, and the same part of them.
  public var expertShard: Int { shard / (expert * expertTensor) }

  /// Groups of ranks that read different data.
  public var dataRankCount: Int { worldSize / sequence }
}

// MARK: - Places

extension ParallelLayout {
  /// The copy of the model that a rank works on.
  public func replicateIndex(of rank: Int) -> Int { checked(rank) / shard }

  /// A rank's place in its copy.
  public func shardIndex(of rank: Int) -> Int { checked(rank) % shard }

  /// A rank's place among those with the same experts.
  public func expertShardIndex(of rank: Int) -> Int {
    shardIndex(of: rank) / (expert * expertTensor)
  }

  /// Which of the `expert` parts of the experts a rank has.
  public func expertIndex(of rank: Int) -> Int { shardIndex(of: rank) / expertTensor % expert }

  /// Which of the `expertTensor` parts of each expert a rank has.
  public func tensorIndex(of rank: Int) -> Int { shardIndex(of: rank) % expertTensor }

  /// Which slice of a pack's tokens a rank has.
  public func sequenceIndex(of rank: Int) -> Int { checked(rank) % sequence }

  /// A rank's place among those that read different data; ranks of a sequence group share it.
  public func dataRank(of rank: Int) -> Int { checked(rank) / sequence }

  private func checked(_ rank: Int) -> Int {
    precondition(
      (0..<worldSize).contains(rank), "the rank must be from 0 to \(worldSize - 1), is \(rank)")
    return rank
  }
}

// MARK: - Groups; each is ascending and holds the rank itself

extension ParallelLayout {
  /// Ranks of the same copy, which share dense parameters.
  public func shardRanks(of rank: Int) -> [Int] {
    let first = replicateIndex(of: rank) * shard
    return Array(first..<first + shard)
  }

  /// Ranks with the same place in every copy.
  public func replicateRanks(of rank: Int) -> [Int] {
    let place = shardIndex(of: rank)
    return (0..<replicate).map { $0 * shard + place }
  }

  /// Adjacent ranks that together have all experts; rows travel among them.
  public func expertRanks(of rank: Int) -> [Int] {
    let count = expert * expertTensor
    let first = replicateIndex(of: rank) * shard + expertShardIndex(of: rank) * count
    return Array(first..<first + count)
  }

  /// Ranks of the same copy with the same part of the same experts, which share those parameters.
  public func expertShardRanks(of rank: Int) -> [Int] {
    let count = expert * expertTensor
    let first = replicateIndex(of: rank) * shard + shardIndex(of: rank) % count
    return (0..<expertShard).map { first + $0 * count }
  }

  /// Adjacent ranks that share the tokens of a pack.
  public func sequenceRanks(of rank: Int) -> [Int] {
    let first = dataRank(of: rank) * sequence
    return Array(first..<first + sequence)
  }
}
