public import XTunerModels
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
    var found: [ParallelLayout.Problem] = []
    for problem in model.problems(of: layout) where !found.contains(problem) {
      found.append(problem)
    }
    guard !found.isEmpty else {
      try checkMicroBatches(layout)
      return layout
    }
    let nearest = ParallelLayout.nearest(to: layout) { model.problems(of: $0).isEmpty }
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

extension ModelConfiguration {
  /// The sizes of a layer that ranks divide.
  private struct DividedSizes: Hashable {
    var expertCount: Int?
    var expertSize: Int?
    var headCount: Int
    var keyValueHeadCount: Int
  }

  /// The problems that a layout has with any layer.
  func problems(of layout: ParallelLayout) -> [ParallelLayout.Problem] {
    // Dense layers between mixtures have no experts to divide; a model without any mixture does
    // refuse expert degrees.
    let anyMixture = layers.lazy.compactMap(\.feedForward.mixture).first
    var seen: Set<DividedSizes> = []
    return layers.flatMap { layer -> [ParallelLayout.Problem] in
      let mixture = layer.feedForward.mixture ?? anyMixture
      let sizes = DividedSizes(
        expertCount: mixture?.expertCount, expertSize: mixture?.expertSize,
        headCount: layer.attention.headCount,
        keyValueHeadCount: layer.attention.keyValueHeadCount)
      guard seen.insert(sizes).inserted else { return [] }
      return layout.problems(
        expertCount: sizes.expertCount, expertSize: sizes.expertSize, headCount: sizes.headCount,
        keyValueHeadCount: sizes.keyValueHeadCount)
    }
  }
}

extension AttentionConfiguration {
  /// Key and value heads that the attention works on; latent attention expands one for each query.
  fileprivate var keyValueHeadCount: Int {
    switch self {
    case .groupedQuery(let attention): attention.keyValueHeadCount
    case .latent(let attention): attention.headCount
    }
  }
}
