/// Puts packs of alike cost into the same step, where a step has too few packs to choose from.
///
/// With one pack a rank no assignment helps: the dearest pack decides. Steps of packs that cost the
/// same do, at a price: which samples are averaged in one update then depends on what they cost.
public enum StepGrouping {
  /// The order in which steps take packs: a permutation of the indices of `costs`.
  ///
  /// In each window of `windowStepCount` steps the packs are sorted by cost, cut into steps, and the
  /// steps are shuffled. A step keeps its packs in their given order. A last step that is not full
  /// gets the cheapest packs of its window and stays last. The result depends on the arguments only.
  public static func order(
    costs: [Double], packsPerStep: Int, windowStepCount: Int, generator: inout SplitMix64
  ) -> [Int] {
    precondition(packsPerStep > 0, "packs per step must be positive, is \(packsPerStep)")
    precondition(windowStepCount > 0, "a window must have steps, has \(windowStepCount)")
    precondition(costs.allSatisfy(\.isFinite), "costs must be finite")
    var order: [Int] = []
    order.reserveCapacity(costs.count)
    for start in stride(from: 0, to: costs.count, by: packsPerStep * windowStepCount) {
      let window = start..<min(start + packsPerStep * windowStepCount, costs.count)
      let sorted = window.sorted { (costs[$0], $1) > (costs[$1], $0) }
      var steps = (0..<Int32(window.count / packsPerStep)).map { $0 }
      generator.shuffle(&steps)
      for step in steps {
        let first = Int(step) * packsPerStep
        order += sorted[first..<first + packsPerStep].sorted()
      }
      order += sorted[(steps.count * packsPerStep)...].sorted()
    }
    return order
  }
}
