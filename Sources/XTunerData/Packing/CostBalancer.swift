/// The predicted cost of a pack: each sample costs `linear * n + quadratic * n * n`.
///
/// The coefficients come from the model's shapes; only their ratio matters for balancing.
public struct PackCostModel: Sendable, Equatable, Codable {
  /// Cost a token.
  public var linear: Double
  /// Cost a pair of tokens that attend to each other.
  public var quadratic: Double

  /// Makes a cost model from its two coefficients.
  public init(linear: Double, quadratic: Double) {
    self.linear = linear
    self.quadratic = quadratic
  }

  /// The cost of a pack of samples of these lengths.
  public func cost(sampleLengths: [Int32]) -> Double {
    sampleLengths.reduce(0) { sum, length in
      let count = Double(length)
      return sum + linear * count + quadratic * count * count
    }
  }
}

/// Spreads packs over ranks so that the dearest rank costs as little as possible.
public enum CostBalancer {
  /// Swaps tried at most for each item; refinement ends far earlier on real costs.
  private static let refinementsPerItem = 16

  /// The indices of `costs` in `bins` groups of equal count (they differ by at most one), each
  /// group ascending.
  ///
  /// Largest first into the cheapest group with room, then swaps between the dearest group and the
  /// others as long as one lowers it. The result depends on the arguments only. `bins` must be
  /// positive and costs finite; groups are empty where there are fewer items than bins.
  public static func balance(costs: [Double], bins: Int) -> [[Int]] {
    precondition(bins > 0, "bins must be positive, is \(bins)")
    precondition(costs.allSatisfy(\.isFinite), "costs must be finite")
    var groups = largestFirst(costs: costs, bins: bins)
    refine(&groups, costs: costs)
    return groups.map { $0.sorted() }
  }

  /// The dearest group's cost over the mean: 1 is perfect balance.
  public static func imbalance(costs: [Double], groups: [[Int]]) -> Double {
    let sums = groups.map { group in group.reduce(0) { $0 + costs[$1] } }
    let mean = sums.reduce(0, +) / Double(sums.count)
    return mean == 0 ? 1 : (sums.max() ?? 0) / mean
  }

  private static func largestFirst(costs: [Double], bins: Int) -> [[Int]] {
    let order = costs.indices.sorted { (costs[$0], $1) > (costs[$1], $0) }
    var groups = [[Int]](repeating: [], count: bins)
    var sums = [Double](repeating: 0, count: bins)
    let smallCount = costs.count / bins
    // How many groups may hold one item more than the others.
    var extraCount = costs.count % bins
    for item in order {
      var best: Int?
      for bin in 0..<bins {
        let count = groups[bin].count
        guard count < smallCount || (count == smallCount && extraCount > 0) else { continue }
        if best.map({ sums[bin] < sums[$0] }) ?? true {
          best = bin
        }
      }
      guard let bin = best else { continue }
      if groups[bin].count == smallCount {
        extraCount -= 1
      }
      groups[bin].append(item)
      sums[bin] += costs[item]
    }
    return groups
  }

  private struct Swap {
    var bin: Int
    var dearIndex: Int
    var cheapIndex: Int
    var peak: Double
  }

  private static func refine(_ groups: inout [[Int]], costs: [Double]) {
    var sums = groups.map { group in group.reduce(0) { $0 + costs[$1] } }
    for _ in 0..<(costs.count * refinementsPerItem) {
      guard let dear = sums.indices.max(by: { (sums[$0], $1) < (sums[$1], $0) }) else { return }
      var best: Swap?
      for bin in groups.indices where bin != dear && sums[bin] < sums[dear] {
        if let swap = bestSwap(dear: dear, bin: bin, groups: groups, sums: sums, costs: costs),
          best.map({ swap.peak < $0.peak }) ?? true
        {
          best = swap
        }
      }
      guard let swap = best else { return }
      let moved = groups[dear][swap.dearIndex]
      let received = groups[swap.bin][swap.cheapIndex]
      groups[dear][swap.dearIndex] = received
      groups[swap.bin][swap.cheapIndex] = moved
      for bin in [dear, swap.bin] {
        sums[bin] = groups[bin].reduce(0) { $0 + costs[$1] }
      }
    }
  }

  /// The exchange of one item each that gives the lowest peak of the two groups, if it helps.
  private static func bestSwap(
    dear: Int, bin: Int, groups: [[Int]], sums: [Double], costs: [Double]
  ) -> Swap? {
    // Below this gain a swap is rounding noise and could repeat for ever.
    let smallestGain = 1e-12 * abs(sums[dear])
    var best: Swap?
    for (dearIndex, dearItem) in groups[dear].enumerated() {
      for (cheapIndex, cheapItem) in groups[bin].enumerated() {
        let shift = costs[dearItem] - costs[cheapItem]
        guard shift > 0 else { continue }
        let peak = max(sums[dear] - shift, sums[bin] + shift)
        if peak < (best?.peak ?? sums[dear]) - smallestGain {
          best = Swap(bin: bin, dearIndex: dearIndex, cheapIndex: cheapIndex, peak: peak)
        }
      }
    }
    return best
  }
}
