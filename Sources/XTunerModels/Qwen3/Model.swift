import XTunerNN

extension Qwen3 {
  /// Qwen3 as in arXiv 2505.09388: pre-norm decoder layers of grouped-query attention, whose queries and
  /// keys are normalised a head before the rotation, and gated feed-forward layers, dense or a mixture of
  /// experts without a shared one.
  static func makeModel(_ configuration: ModelConfiguration) -> LanguageModel {
    let sizes = configuration.blockSizes
    let embedding = TokenEmbedding(
      vocabularySize: configuration.vocabularySize, hiddenSize: sizes.hiddenSize,
      standardDeviation: sizes.standardDeviation)
    let blocks = configuration.layers.enumerated().map { index, layer in
      let name = "layers.\(index)"
      return DecoderBlock(
        name,
        attentionNorm: RMSNorm("\(name).attentionNorm", sizes),
        attention: layer.attention.makePart("\(name).attention", sizes),
        feedForwardNorm: RMSNorm("\(name).feedForwardNorm", sizes),
        feedForward: layer.feedForward.makePart(name, sizes))
    }
    let head = OutputHead(
      embedding: embedding, vocabularySize: configuration.vocabularySize,
      hiddenSize: sizes.hiddenSize, epsilon: sizes.normEpsilon,
      isTied: configuration.tiesEmbeddings, standardDeviation: sizes.standardDeviation)
    return LanguageModel(configuration, source: embedding, blocks: blocks, head: head) {
      input, device in
      // One rotary table for all layers; a window is the attention's own.
      let context = ForwardContext(input, configuration.rotary, on: device)
      return blocks.map { _ in context }
    }
  }
}
