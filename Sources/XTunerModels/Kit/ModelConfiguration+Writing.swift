/// Writing of `config.json`.
extension ModelConfiguration {
  /// The text of a `config.json` in the hub's spelling, which transformers 4 and 5 both read.
  ///
  /// Keys of `source` that the engine does not know are kept, as is the order of its keys.
  ///
  /// - Throws: `ModelConfigurationError` where the family's file cannot say what this
  ///   configuration is.
  public func configurationText() throws(ModelConfigurationError) -> String {
    try validate()
    return "\(JSONDocument.object(hubObject()).indentedText())\n"
  }

  private func hubObject() -> JSONObject {
    var object = source ?? JSONObject()
    for spelling in ["rope_parameters", "dtype", "num_local_experts"] { object[spelling] = nil }
    object["architectures"] = .array([.string(family.architecture)])
    object["model_type"] = .string(family.modelType)
    object["vocab_size"] = .integer(vocabularySize)
    object["hidden_size"] = .integer(hiddenSize)
    object["intermediate_size"] = .integer(intermediateSize)
    object["num_hidden_layers"] = .integer(layers.count)
    object["max_position_embeddings"] = .integer(maximumPositionCount)
    object["hidden_act"] = .string("silu")
    object["rms_norm_eps"] = .real(normEpsilon)
    object["initializer_range"] = .real(initializerRange)
    object["tie_word_embeddings"] = .boolean(tiesEmbeddings)
    object["torch_dtype"] = .string(weightType)
    family.write(self, &object)
    writeTokens(to: &object)
    object["rope_theta"] = .real(rotary.base)
    object["rope_scaling"] = rotary.scalingDocument
    object["quantization_config"] = float8Document
    if object["use_cache"] == nil { object["use_cache"] = .boolean(true) }
    return object
  }

  private func writeTokens(to object: inout JSONObject) {
    object["bos_token_id"] = beginTokenID.map { .integer($0) } ?? .null
    object["eos_token_id"] =
      switch endTokenIDs.count {
      case 0: .null
      case 1: .integer(endTokenIDs[0])
      default: .array(endTokenIDs.map { .integer($0) })
      }
    if paddingTokenID != nil || object["pad_token_id"] != nil {
      object["pad_token_id"] = paddingTokenID.map { .integer($0) } ?? .null
    }
  }
}

extension RotaryConfiguration {
  /// The value of `rope_scaling`.
  fileprivate var scalingDocument: JSONDocument {
    var object = JSONObject()
    switch scaling {
    case .none: return .null
    case .linear(let factor):
      object["rope_type"] = .string("linear")
      object["factor"] = .fraction(factor)
    case .dynamic(let factor, _):
      object["rope_type"] = .string("dynamic")
      object["factor"] = .fraction(factor)
    case .yarn(let yarn):
      object["rope_type"] = .string("yarn")
      object["factor"] = .fraction(yarn.factor)
      object["original_max_position_embeddings"] = .integer(yarn.originalPositionCount)
      object["beta_fast"] = .fraction(yarn.fastRotationCount)
      object["beta_slow"] = .fraction(yarn.slowRotationCount)
      object["truncate"] = .boolean(yarn.truncatesRamp)
      object["attention_factor"] = yarn.attentionFactor.map { .fraction($0) }
      object["mscale"] = yarn.magnitudeScale.map { .fraction($0) }
      object["mscale_all_dim"] = yarn.magnitudeScaleAllDimensions.map { .fraction($0) }
    }
    return .object(object)
  }
}

extension JSONDocument {
  /// A number with a fraction even where it is whole: transformers warns about whole rope factors.
  fileprivate static func fraction(_ value: Double) -> JSONDocument { .number("\(value)") }
}
