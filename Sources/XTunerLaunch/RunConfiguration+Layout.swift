public import XTunerConfiguration
public import XTunerModels
import XTunerNN
public import XTunerParallel

extension RunConfiguration {
  /// The layout that the section `parallel` means for a number of processes.
  ///
  /// - Parameters:
  ///   - worldSize: All processes of the run.
  ///   - model: The model, whose heads and experts are divided.
  /// - Returns: A layout without problems.
  /// - Throws: Every degree that does not divide, in one error, with the nearest layouts that do.
  public func parallelLayout(
    worldSize: Int, model: ModelConfiguration
  ) throws(ConfigurationError) -> ParallelLayout {
    let layout = ParallelLayout(
      worldSize: worldSize, replicate: parallel.replicate, expert: parallel.expert,
      expertTensor: parallel.expertTensor, sequence: parallel.sequence)
    let facts = model.facts
    var found: [ParallelLayout.Problem] = []
    for problem in facts.problems(of: layout) where !found.contains(problem) {
      found.append(problem)
    }
    guard !found.isEmpty else {
      try checkMicroBatches(layout)
      return layout
    }
    let nearest = ParallelLayout.nearest(to: layout) { facts.problems(of: $0).isEmpty }
    let hint = """
      nearest layouts for \(worldSize) process\(worldSize == 1 ? "" : "es"): \
      \(nearest.map(\.settings).joined(separator: " or "))
      """
    found[found.count - 1].reason += "; \(hint)"
    throw ConfigurationError(
      file: locations.file, problems: found.map { self.problem(at: $0.key, $0.reason) })
  }
}

extension RunConfiguration {
  /// A step must have a micro-batch for every rank that reads data and every interleaved place.
  private func checkMicroBatches(_ layout: ParallelLayout) throws(ConfigurationError) {
    let count = training.packsPerStep / training.microBatchPacks
    let needed = layout.dataRankCount * parallel.interleave
    guard count < needed else { return }
    let reason = """
      must be at least \(needed * training.microBatchPacks): \(layout.dataRankCount) processes \
      read data, with parallel.interleave \(parallel.interleave) and training.micro_batch_packs \
      \(training.microBatchPacks); is \(training.packsPerStep)
      """
    throw ConfigurationError(
      file: locations.file, problems: [problem(at: "training.packs_per_step", reason)])
  }
}

extension ModelFacts {
  /// The sizes of a block that ranks divide.
  private struct DividedSizes: Hashable {
    var experts: RoutedExperts?
    var heads: HeadCounts
  }

  /// The problems that a layout has with any block.
  func problems(of layout: ParallelLayout) -> [ParallelLayout.Problem] {
    // Dense layers between mixtures have no experts to divide; a model without any mixture does
    // refuse expert degrees.
    let anyExperts = blocks.lazy.compactMap(\.experts).first
    var seen: Set<DividedSizes> = []
    return blocks.flatMap { block -> [ParallelLayout.Problem] in
      guard let heads = block.heads else { return [] }
      let sizes = DividedSizes(experts: block.experts ?? anyExperts, heads: heads)
      guard seen.insert(sizes).inserted else { return [] }
      return layout.problems(
        expertCount: sizes.experts?.count, expertSize: sizes.experts?.size,
        headCount: heads.query, keyValueHeadCount: heads.keyValue)
    }
  }
}
