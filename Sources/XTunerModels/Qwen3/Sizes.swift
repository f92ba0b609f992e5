import XTunerMoE
import XTunerNN

/// Sizes by which the Qwen3 family is made in code.
extension ModelConfiguration {
  /// A dense Qwen3 model.
  ///
  /// - Parameters:
  ///   - vocabularySize: rows of the embedding and the head.
  ///   - hiddenSize: width of the residual stream.
  ///   - intermediateSize: width of the feed-forward layers.
  ///   - layerCount: decoder layers.
  ///   - headCount: query heads.
  ///   - keyValueHeadCount: key and value heads; divides `headCount`.
  ///   - headSize: entries of a head; 128 in the published models.
  ///   - ropeBase: base of the rotary frequencies; 1e6 in the published models.
  ///   - maximumPositionCount: longest context, in tokens; 40960 in the published models.
  ///   - tiesEmbeddings: whether the head is the embedding.
  ///   - beginTokenID: token that starts a document.
  ///   - endTokenIDs: tokens that end a generation.
  /// - Returns: the configuration, not yet validated.
  public static func qwen3(
    vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layerCount: Int, headCount: Int,
    keyValueHeadCount: Int, headSize: Int = 128, ropeBase: Double = 1_000_000,
    maximumPositionCount: Int = 40960, tiesEmbeddings: Bool, beginTokenID: Int? = nil,
    endTokenIDs: [Int] = []
  ) -> ModelConfiguration {
    let layer = DecoderLayerOptions(
      attention: .groupedQuery(
        GroupedQueryAttention.Options(
          headCount: headCount, keyValueHeadCount: keyValueHeadCount, headSize: headSize,
          normalizesQueryAndKey: true)),
      feedForward: .dense(intermediateSize: intermediateSize))
    return ModelConfiguration(
      family: .qwen3, vocabularySize: vocabularySize, hiddenSize: hiddenSize,
      intermediateSize: intermediateSize,
      layers: Array(repeating: layer, count: max(layerCount, 0)),
      rotary: RotaryConfiguration(base: ropeBase, rotatedSize: headSize),
      // 1e-6, as in every published Qwen3 configuration.
      normEpsilon: 1e-6, tiesEmbeddings: tiesEmbeddings,
      maximumPositionCount: maximumPositionCount, beginTokenID: beginTokenID,
      endTokenIDs: endTokenIDs, balanceLossCoefficient: 0)
  }

  /// A Qwen3 model whose every layer has experts.
  ///
  /// - Parameters:
  ///   - vocabularySize: rows of the embedding and the head.
  ///   - hiddenSize: width of the residual stream.
  ///   - expertCount: experts of a layer.
  ///   - expertsPerToken: experts a token goes through.
  ///   - expertSize: width of an expert.
  ///   - layerCount: decoder layers.
  ///   - headCount: query heads.
  ///   - keyValueHeadCount: key and value heads; divides `headCount`.
  ///   - headSize: entries of a head; 128 in the published models.
  ///   - normalizesWeights: whether the weights of the chosen experts sum to 1; true in the
  ///     published models.
  ///   - intermediateSize: width that `config.json` gives for dense layers, of which there are none.
  ///   - ropeBase: base of the rotary frequencies; 1e6 in the published models.
  ///   - maximumPositionCount: longest context, in tokens; 40960 in the published models.
  ///   - tiesEmbeddings: whether the head is the embedding.
  ///   - beginTokenID: token that starts a document.
  ///   - endTokenIDs: tokens that end a generation.
  /// - Returns: the configuration, not yet validated.
  public static func qwen3MoE(
    vocabularySize: Int, hiddenSize: Int, expertCount: Int, expertsPerToken: Int, expertSize: Int,
    layerCount: Int, headCount: Int, keyValueHeadCount: Int, headSize: Int = 128,
    normalizesWeights: Bool = true, intermediateSize: Int? = nil, ropeBase: Double = 1_000_000,
    maximumPositionCount: Int = 40960, tiesEmbeddings: Bool = false, beginTokenID: Int? = nil,
    endTokenIDs: [Int] = []
  ) -> ModelConfiguration {
    var configuration = qwen3(
      vocabularySize: vocabularySize, hiddenSize: hiddenSize,
      intermediateSize: intermediateSize ?? expertSize * max(expertsPerToken, 1),
      layerCount: layerCount, headCount: headCount, keyValueHeadCount: keyValueHeadCount,
      headSize: headSize, ropeBase: ropeBase, maximumPositionCount: maximumPositionCount,
      tiesEmbeddings: tiesEmbeddings, beginTokenID: beginTokenID, endTokenIDs: endTokenIDs)
    configuration.family = .qwen3MoE
    // 0.001, as in every published Qwen3 mixture configuration.
    configuration.balanceLossCoefficient = 0.001
    let mixture = MixtureOfExperts.Options(
      router: Router.Options(
        scoring: .softmax, expertCount: expertCount, expertsPerToken: expertsPerToken,
        normalizesWeights: normalizesWeights),
      expertSize: expertSize)
    for layer in configuration.layers.indices {
      configuration.layers[layer].feedForward = .mixture(mixture)
    }
    return configuration
  }
}
