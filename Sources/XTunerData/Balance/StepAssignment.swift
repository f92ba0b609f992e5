/// Which rank computes which packs of a step, and in which round.
///
/// Ranks meet in every round, because each block's parameters are gathered from all of them: a round
/// takes as long as its dearest rank. In one round a rank computes up to `interleave` packs.
public struct StepAssignment: Sendable, Equatable {
  /// For each rank its packs, round after round: a round takes the next `interleave` of them.
  ///
  /// Only the last round may have fewer; ranks may then differ in their count.
  public let packs: [[Int]]
  /// Packs that a rank computes in one round.
  public let interleave: Int

  init(packs: [[Int]], interleave: Int) {
    self.packs = packs
    self.interleave = interleave
  }

  /// Ranks.
  public var rankCount: Int { packs.count }

  /// Rounds; every rank takes part in all of them, with nothing to compute where it has no pack.
  public var roundCount: Int {
    let largestCount = packs.reduce(0) { max($0, $1.count) }
    return (largestCount + interleave - 1) / interleave
  }

  /// What `rank` computes in `round`; empty where it has nothing left.
  public func packs(rank: Int, round: Int) -> ArraySlice<Int> {
    let own = packs[rank]
    return own[min(round * interleave, own.count)..<min((round + 1) * interleave, own.count)]
  }

  /// What the step costs if each pack costs what `costs` says, in the unit of `costs`.
  public func prediction(costs: [Double]) -> StepPrediction {
    var makespan = 0.0
    for round in 0..<roundCount {
      makespan += packs.indices.reduce(0.0) { dearest, rank in
        max(dearest, packs(rank: rank, round: round).reduce(0) { $0 + costs[$1] })
      }
    }
    let total = packs.joined().reduce(0) { $0 + costs[$1] }
    return StepPrediction(makespan: makespan, mean: total / Double(rankCount))
  }
}

/// How long a step takes, as far as costs tell.
public struct StepPrediction: Sendable, Equatable {
  /// The sum over rounds of the dearest rank's cost.
  public var makespan: Double
  /// What each rank would have to compute if all could be spread evenly; no assignment takes less.
  public var mean: Double

  /// The makespan over the mean: 1 is perfect balance.
  public var spread: Double { mean > 0 ? makespan / mean : 1 }

  /// The share of all ranks' time, from 0 to 1, in which they wait for the dearest one.
  public var idleShare: Double { 1 - 1 / spread }
}

extension StepAssignment {
  /// Packs dealt out one to each rank in turn, so that rounds follow their order; it ignores costs.
  public static func inOrder(
    count: Int, rankCount: Int, interleave: Int = 1
  ) -> StepAssignment {
    precondition(count >= 0, "the count of packs must not be negative, is \(count)")
    check(rankCount: rankCount, interleave: interleave)
    return StepAssignment(
      packs: (0..<rankCount).map { Array(stride(from: $0, to: count, by: rankCount)) },
      interleave: interleave)
  }

  /// The packs spread so that the sum over rounds of the dearest rank's cost is small.
  ///
  /// With one pack a rank and round it is the least possible: rounds are runs of the sorted packs,
  /// so the k-th dearest round costs no more than any assignment's. With more it is the better of
  /// two constructions, refined by exchanges. Dear rounds come first, so that memory grows once. The
  /// result depends on the arguments only. Costs must be finite and not negative.
  public static func balanced(
    costs: [Double], rankCount: Int, interleave: Int = 1
  ) -> StepAssignment {
    check(rankCount: rankCount, interleave: interleave)
    precondition(
      costs.allSatisfy { $0.isFinite && $0 >= 0 }, "costs must be finite and not negative")
    let order = costs.indices.sorted { (costs[$0], $1) > (costs[$1], $0) }
    var table = RoundTable(
      grouping: order, costs: costs, rankCount: rankCount, interleave: interleave)
    if interleave > 1 && rankCount > 1 {
      table.refine()
      var mixed = RoundTable(
        mixing: order, costs: costs, rankCount: rankCount, interleave: interleave)
      mixed.refine()
      if mixed.makespan < table.makespan { table = mixed }
    }
    return StepAssignment(packs: table.dealt(), interleave: interleave)
  }

  private static func check(rankCount: Int, interleave: Int) {
    precondition(rankCount > 0, "the count of ranks must be positive, is \(rankCount)")
    precondition(interleave > 0, "interleave must be positive, is \(interleave)")
  }
}
