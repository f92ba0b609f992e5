/// What happens to the packs at an epoch's end that do not fill a step.
public enum EpochEnd: String, Sendable, Codable, CaseIterable {
  /// The step goes on with the first packs of the next epoch; no pack is lost.
  case wrap
  /// They are left out; every epoch starts with a fresh step.
  case dropLast = "drop_last"
}

/// Packs change steps so that those of one step cost alike; see ``StepGrouping``.
public struct PackGrouping: Sendable, Equatable {
  /// What a pack costs.
  public var cost: StepCost
  /// Steps among which packs are exchanged; at least 2.
  public var windowStepCount: Int

  /// Packs are exchanged among `windowStepCount` steps.
  public init(cost: StepCost, windowStepCount: Int) {
    self.cost = cost
    self.windowStepCount = windowStepCount
  }
}

/// How a loader orders, packs and hands out samples.
public struct DataLoaderOptions: Sendable, Equatable {
  /// Mode, sequence length and look-ahead.
  public var packing: PackPlanner
  /// Packs of one optimizer step over all ranks and micro-batches.
  public var packsPerStep: Int
  /// The seed of the order.
  public var seed: UInt64
  /// Whether samples are mixed.
  public var isShuffled: Bool
  /// The rules of the order; a run keeps those that it began with.
  public var rules: DataRules
  /// What happens to the last packs of an epoch.
  public var epochEnd: EpochEnd
  /// Epochs after which the data ends; nil means never.
  public var epochLimit: Int?
  /// How packs change steps; nil for steps of packs as they come.
  public var grouping: PackGrouping?
  /// Steps made ahead on a background thread; 0 makes each when it is asked for.
  public var prefetchCount: Int
  /// The share of packs without a label above which the data is refused; nil for no limit.
  public var maximumMaskedShare: Double?

  /// Makes options; the loader checks them.
  public init(
    packing: PackPlanner, packsPerStep: Int, seed: UInt64, isShuffled: Bool = true,
    rules: DataRules = .current, epochEnd: EpochEnd = .wrap, epochLimit: Int? = nil,
    grouping: PackGrouping? = nil, prefetchCount: Int = 2, maximumMaskedShare: Double? = nil
  ) {
    self.packing = packing
    self.packsPerStep = packsPerStep
    self.seed = seed
    self.isShuffled = isShuffled
    self.rules = rules
    self.epochEnd = epochEnd
    self.epochLimit = epochLimit
    self.grouping = grouping
    self.prefetchCount = prefetchCount
    self.maximumMaskedShare = maximumMaskedShare
  }

  /// Throws when a value cannot work.
  func check() throws(LoaderError) {
    var problems: [String] = []
    if packsPerStep < 1 {
      problems.append("packs per step: must be positive, is \(packsPerStep)")
    }
    if let epochLimit, epochLimit < 1 {
      problems.append("epochs: must be positive, is \(epochLimit)")
    }
    if let grouping, grouping.windowStepCount < 2 {
      problems.append("grouping: must be over 2 steps or more, is \(grouping.windowStepCount)")
    }
    if prefetchCount < 0 {
      problems.append("prefetch: must not be negative, is \(prefetchCount)")
    }
    guard problems.isEmpty else {
      throw LoaderError(.invalidOption, problems.joined(separator: "; "))
    }
  }
}

/// The part of a step's packs that belongs to one of several ranks: equal runs in order.
///
/// The count must be a multiple of the rank count, except for a last, partial step, whose first
/// ranks get one pack more.
public func rankSlice<Element>(
  _ packs: [Element], rank: Int, of rankCount: Int
) -> ArraySlice<Element> {
  precondition(rank >= 0 && rank < rankCount, "rank \(rank) is not below \(rankCount)")
  let share = packs.count / rankCount
  let extra = packs.count % rankCount
  let start = rank * share + min(rank, extra)
  return packs[start..<(start + share + (rank < extra ? 1 : 0))]
}
