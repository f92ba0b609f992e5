/// The packs of a step in rounds of one bin a rank; it does not matter yet which rank has which bin.
///
/// Bins `round * rankCount ..< (round + 1) * rankCount` make up a round. All but the last round's
/// hold `interleave` packs.
struct RoundTable {
  private let costs: [Double]
  private let rankCount: Int
  private let roundCount: Int
  private(set) var bins: [[Int]]
  private var sums: [Double]

  /// Rounds of alike packs: each has the dearest of those left, spread evenly over its bins.
  init(grouping order: [Int], costs: [Double], rankCount: Int, interleave: Int) {
    self.init(order, costs: costs, rankCount: rankCount, interleave: interleave)
    for round in 0..<roundCount {
      let start = round * rankCount * interleave
      let packs = order[start..<min(start + rankCount * interleave, order.count)]
      spread(packs, over: round * rankCount..<(round + 1) * rankCount, room: interleave)
    }
  }

  /// Rounds of alike bins: all packs spread evenly over all bins, which are then sorted.
  init(mixing order: [Int], costs: [Double], rankCount: Int, interleave: Int) {
    self.init(order, costs: costs, rankCount: rankCount, interleave: interleave)
    let fullCount = order.count / (rankCount * interleave) * rankCount
    let restCount = order.count - fullCount * interleave
    // The cheapest packs are left for a last round that not all ranks can fill.
    let full = order.dropLast(restCount)
    spread(full, over: 0..<fullCount, room: interleave)
    spread(order.suffix(restCount), over: fullCount..<bins.count, room: interleave)
    let places = (0..<fullCount).sorted { (sums[$0], $1) > (sums[$1], $0) }
    let (oldBins, oldSums) = (bins, sums)
    for (place, bin) in places.enumerated() {
      (bins[place], sums[place]) = (oldBins[bin], oldSums[bin])
    }
  }

  private init(_ order: [Int], costs: [Double], rankCount: Int, interleave: Int) {
    self.costs = costs
    self.rankCount = rankCount
    roundCount = (order.count + rankCount * interleave - 1) / (rankCount * interleave)
    bins = Array(repeating: [], count: rankCount * roundCount)
    sums = Array(repeating: 0, count: bins.count)
  }

  /// The sum over rounds of the dearest bin.
  var makespan: Double {
    (0..<roundCount).reduce(0) { $0 + sums[dearest(ofRound: $1)] }
  }

  /// Each rank's packs, round after round.
  ///
  /// A round's dearer bins go to the ranks that have had less, so that no rank is always last.
  func dealt() -> [[Int]] {
    var ranks = [[Int]](repeating: [], count: rankCount)
    var totals = [Double](repeating: 0, count: rankCount)
    let rounds = (0..<roundCount).sorted { first, second in
      // The last round stays last: the others are full.
      let isLast = (first == roundCount - 1, second == roundCount - 1)
      if isLast.0 != isLast.1 { return isLast.1 }
      let (a, b) = (sums[dearest(ofRound: first)], sums[dearest(ofRound: second)])
      return (a, second) > (b, first)
    }
    for round in rounds {
      let places = bins(ofRound: round).sorted { (sums[$0], $1) > (sums[$1], $0) }
      let takers = ranks.indices.sorted { (totals[$0], $0) < (totals[$1], $1) }
      for (bin, rank) in zip(places, takers) {
        ranks[rank] += bins[bin].sorted()
        totals[rank] += sums[bin]
      }
    }
    return ranks
  }

  private func bins(ofRound round: Int) -> Range<Int> {
    round * rankCount..<(round + 1) * rankCount
  }

  private func dearest(ofRound round: Int) -> Int {
    var dearest = round * rankCount
    for bin in bins(ofRound: round) where sums[bin] > sums[dearest] { dearest = bin }
    return dearest
  }

  // MARK: Largest first

  /// Puts packs, dearest first, each into the cheapest bin with room.
  private mutating func spread(_ packs: ArraySlice<Int>, over range: Range<Int>, room: Int) {
    var queue = BinQueue(range)
    for pack in packs {
      let bin = queue.first
      bins[bin].append(pack)
      sums[bin] += costs[pack]
      if bins[bin].count < room {
        queue.lowerFirst(sums)
      } else {
        queue.removeFirst(sums)
      }
    }
  }

  // MARK: Exchanges

  /// Exchanges of two packs that are looked at, at most; they take about 20 ms.
  private static let trialLimit = 8_000_000
  /// Gains below this share of the makespan are not worth an exchange; it also stops rounding noise.
  private static let smallestGain = 1e-6

  private struct Exchange {
    var bin: Int
    var place: Int
    var otherBin: Int
    var otherPlace: Int
    var gain: Double
  }

  /// Exchanges packs of dearest bins for cheaper ones of any bin as long as the makespan falls.
  mutating func refine() {
    var trialCount = 0
    var isImproving = true
    while isImproving {
      isImproving = false
      let threshold = Self.smallestGain * makespan
      for round in 0..<roundCount {
        let dearest = dearest(ofRound: round)
        trialCount += bins[dearest].count * costs.count
        guard trialCount <= Self.trialLimit else { return }
        guard let exchange = bestExchange(of: dearest, round: round, threshold: threshold)
        else { continue }
        apply(exchange)
        isImproving = true
      }
    }
  }

  private mutating func apply(_ exchange: Exchange) {
    let pack = bins[exchange.bin][exchange.place]
    bins[exchange.bin][exchange.place] = bins[exchange.otherBin][exchange.otherPlace]
    bins[exchange.otherBin][exchange.otherPlace] = pack
    for bin in [exchange.bin, exchange.otherBin] {
      sums[bin] = bins[bin].reduce(0) { $0 + costs[$1] }
    }
  }

  private func bestExchange(of dearest: Int, round: Int, threshold: Double) -> Exchange? {
    let peaks = (0..<roundCount).map { sums[self.dearest(ofRound: $0)] }
    let rest = bins(ofRound: round).reduce(0.0) { $1 == dearest ? $0 : max($0, sums[$1]) }
    var best: Exchange?
    for (place, pack) in bins[dearest].enumerated() {
      for other in bins.indices where other != dearest {
        let otherRound = other / rankCount
        for (otherPlace, otherPack) in bins[other].enumerated() {
          let shift = costs[pack] - costs[otherPack]
          guard shift > 0 else { continue }
          let ownPeak = max(rest, sums[dearest] - shift)
          let otherSum = sums[other] + shift
          let gain =
            otherRound == round
            ? peaks[round] - max(ownPeak, otherSum)
            : peaks[round] - ownPeak - max(0, otherSum - peaks[otherRound])
          if gain > best?.gain ?? threshold {
            best = Exchange(
              bin: dearest, place: place, otherBin: other, otherPlace: otherPlace, gain: gain)
          }
        }
      }
    }
    return best
  }
}

/// Bins by their sum, cheapest first: a binary heap, so that thousands of bins cost little.
private struct BinQueue {
  private var heap: [Int]

  /// All bins of a range, whose sums are equal.
  init(_ range: Range<Int>) { heap = Array(range) }

  /// The cheapest bin, of equal ones the first.
  var first: Int { heap[0] }

  /// Says that the first bin has become dearer.
  mutating func lowerFirst(_ sums: [Double]) { sink(sums) }

  /// Takes the first bin out.
  mutating func removeFirst(_ sums: [Double]) {
    heap[0] = heap[heap.count - 1]
    heap.removeLast()
    sink(sums)
  }

  private mutating func sink(_ sums: [Double]) {
    var place = 0
    while true {
      var child = 2 * place + 1
      guard child < heap.count else { return }
      if child + 1 < heap.count && isBefore(child + 1, child, sums) { child += 1 }
      guard isBefore(child, place, sums) else { return }
      heap.swapAt(child, place)
      place = child
    }
  }

  private func isBefore(_ a: Int, _ b: Int, _ sums: [Double]) -> Bool {
    (sums[heap[a]], heap[a]) < (sums[heap[b]], heap[b])
  }
}
