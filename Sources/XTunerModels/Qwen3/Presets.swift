/// The published Qwen3 models (https://huggingface.co/Qwen, arXiv 2505.09388).
extension ModelPreset {
  static var qwen3: [ModelPreset] {
    let small = dense(
      "Qwen3-0.6B", hidden: 1024, width: 3072, layers: 28, heads: 16, isTied: true)
    let medium = dense(
      "Qwen3-1.7B", hidden: 2048, width: 6144, layers: 28, heads: 16, isTied: true)
    let four = dense("Qwen3-4B", hidden: 2560, width: 9728, layers: 36, heads: 32, isTied: true)
    let eight = dense("Qwen3-8B", hidden: 4096, width: 12288, layers: 36, heads: 32, isTied: false)
    let fourteen = dense(
      "Qwen3-14B", hidden: 5120, width: 17408, layers: 40, heads: 40, isTied: false)
    let large = dense(
      "Qwen3-32B", hidden: 5120, width: 25600, layers: 64, heads: 64, isTied: false)
    return [
      small, small.base, medium, medium.base, four, four.base,
      four.long("Instruct-2507", ropeBase: 5_000_000),
      four.long("Thinking-2507", ropeBase: 5_000_000),
      eight, eight.base, fourteen, fourteen.base, large,
    ]
  }

  static var qwen3MoE: [ModelPreset] {
    let small = mixture(
      "Qwen3-30B-A3B", hidden: 2048, width: 6144, expertSize: 768, layers: 48, heads: 32)
    let large = mixture(
      "Qwen3-235B-A22B", hidden: 4096, width: 12288, expertSize: 1536, layers: 94, heads: 64)
    return [
      small, small.base,
      small.long("Instruct-2507", ropeBase: 10_000_000),
      small.long("Thinking-2507", ropeBase: 10_000_000),
      large,
      large.long("Instruct-2507", ropeBase: 5_000_000),
      large.long("Thinking-2507", ropeBase: 5_000_000),
    ]
  }

  /// Rows of the published embedding; the tokenizer uses fewer.
  private static let vocabularySize = 151_936
  /// `<|endoftext|>`, which `config.json` also calls the beginning; it is never added.
  private static let endOfTextID = 151_643
  /// `<|im_end|>`.
  private static let endOfTurnID = 151_645

  private static func dense(
    _ name: String, hidden: Int, width: Int, layers: Int, heads: Int, isTied: Bool
  ) -> ModelPreset {
    ModelPreset(
      name: name,
      configuration: .qwen3(
        vocabularySize: vocabularySize, hiddenSize: hidden, intermediateSize: width,
        layerCount: layers, headCount: heads, keyValueHeadCount: 8, tiesEmbeddings: isTied,
        beginTokenID: endOfTextID, endTokenIDs: [endOfTurnID]))
  }

  private static func mixture(
    _ name: String, hidden: Int, width: Int, expertSize: Int, layers: Int, heads: Int
  ) -> ModelPreset {
    ModelPreset(
      name: name,
      configuration: .qwen3MoE(
        vocabularySize: vocabularySize, hiddenSize: hidden, expertCount: 128, expertsPerToken: 8,
        expertSize: expertSize, layerCount: layers, headCount: heads, keyValueHeadCount: 4,
        intermediateSize: width, beginTokenID: endOfTextID, endTokenIDs: [endOfTurnID]))
  }

  /// The pre-trained model before instruction tuning.
  private var base: ModelPreset {
    var preset = self
    preset.name += "-Base"
    preset.configuration.endTokenIDs = [Self.endOfTextID]
    preset.configuration.maximumPositionCount = 32768
    return preset
  }

  /// The long-context release of July 2025.
  private func long(_ suffix: String, ropeBase: Double) -> ModelPreset {
    var preset = self
    preset.name += "-\(suffix)"
    preset.configuration.rotary.base = ropeBase
    preset.configuration.maximumPositionCount = 262_144
    return preset
  }
}
