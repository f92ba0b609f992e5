import Torch
public import XTunerModels

extension HFCheckpointFolder {
  /// The configuration as these weights want it: a head that `config.json` ties to the embedding is
  /// untied where the folder has both with different values, as transformers 5 does.
  ///
  /// Reads both matrices up to the first difference; a folder with one of them is left alone.
  ///
  /// - Throws: `CheckpointError` where a file is damaged.
  public func untying(
    _ configuration: ModelConfiguration
  ) throws(CheckpointError) -> ModelConfiguration {
    guard configuration.tiesEmbeddings else { return configuration }
    let names = WeightMap(configuration)
    guard let embedding = names.embeddingName, let head = names.tiedHeadName,
      contains(embedding), contains(head),
      try !isEqual(embedding, head)
    else { return configuration }
    var untied = configuration
    untied.tiesEmbeddings = false
    return untied
  }

  /// Whether two tensors have the same sizes and values; NaN equals nothing.
  private func isEqual(_ first: String, _ second: String) throws(CheckpointError) -> Bool {
    let (a, b) = (try file(of: first).tensor(first), try file(of: second).tensor(second))
    guard a.shape == b.shape else { return false }
    let (flatA, flatB) = (a.reshaped([-1]), b.reshaped([-1]))
    return withoutGradients {
      for start in stride(from: 0, to: a.elementCount, by: Tensor.bucketCount) {
        let count = min(Tensor.bucketCount, a.elementCount - start)
        let part = flatA.narrowed(dim: 0, start: start, length: count).to(.float32)
        let other = flatB.narrowed(dim: 0, start: start, length: count).to(.float32)
        guard part.equal(other).allTrue().item() != 0 else { return false }
      }
      return true
    }
  }
}

extension HFCheckpointFolder {
  /// Whether there are weights in a folder at all, in one file or in shards.
  public static func hasWeights(at path: String) -> Bool {
    [singleName, indexName].contains { FileSystem.kind("\(path)/\($0)") != nil }
  }
}
