/// The order of an epoch's packs: random, and of the same mixture on every stretch.
///
/// Best fit lays long samples out first, and a cut document fills many packs in a row, so that packs as they are
/// laid out go from long to short, or through one document for many steps. An order that is random and no more
/// leaves stretches of a few steps that are mostly long or mostly short; they pull the weights to and fro. Here
/// packs are sorted by what they are like and split into strata of one size, and each run of
/// ``stratumCount`` packs takes one at random from every stratum: stratified sampling, as in Cochran,
/// "Sampling Techniques" (1977), chapter 5. `scripts/data_order.py` shows what it does to a model.
enum PackOrder {
  /// Packs of a run that is a mixture of all; smaller aligned parts of a run are mixtures, too, if coarser.
  static let stratumCount = 16

  /// The index in `plan` of the pack at each place; a function of the plan and the generator.
  static func places(_ plan: PackPlan, generator: inout SplitMix64) -> [Int32] {
    let count = plan.packCount
    let ranked = ranked(plan)
    let strata = (0..<stratumCount).map { index in
      var packs = Array(
        ranked[(index * count / stratumCount)..<((index + 1) * count / stratumCount)])
      generator.shuffle(&packs)
      return packs
    }
    var places: [Int32] = []
    places.reserveCapacity(count)
    for round in 0..<(strata.map(\.count).max() ?? 0) {
      for stratum in spread(0..<stratumCount, &generator) where round < strata[stratum].count {
        places.append(strata[stratum][round])
      }
    }
    return places
  }

  /// The packs from few samples to many, those with as many in the order of the plan, in which
  /// neighbours share a document.
  private static func ranked(_ plan: PackPlan) -> [Int32] {
    // Counting sort: packs with each number of samples.
    let sampleCounts = (0..<plan.packCount).map { plan.pieceCount(inPack: $0) }
    var places = [Int](repeating: 0, count: (sampleCounts.max() ?? 0) + 2)
    for samples in sampleCounts { places[samples + 1] += 1 }
    for samples in places.indices.dropFirst() { places[samples] += places[samples - 1] }
    var ranked = [Int32](repeating: 0, count: plan.packCount)
    for (pack, samples) in sampleCounts.enumerated() {
      ranked[places[samples]] = Int32(pack)
      places[samples] += 1
    }
    return ranked
  }

  /// The strata in an order of which every aligned 2, 4 and 8 come from all over: halves take turns, and in them
  /// their halves; which goes first is random.
  private static func spread(_ strata: Range<Int>, _ generator: inout SplitMix64) -> [Int] {
    guard strata.count > 1 else { return Array(strata) }
    let middle = strata.lowerBound + strata.count / 2
    let halves = [strata.lowerBound..<middle, middle..<strata.upperBound].map {
      spread($0, &generator)
    }
    let first = Int(generator.next(below: 2))
    return halves[0].indices.flatMap { [halves[first][$0], halves[1 - first][$0]] }
  }
}
