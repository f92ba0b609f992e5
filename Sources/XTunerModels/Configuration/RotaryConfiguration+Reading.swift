/// Reading of the rotary keys of a `config.json`.
extension RotaryConfiguration {
  /// From `rope_theta` and `rope_scaling` (hub) or from `rope_parameters` (transformers 5).
  init(
    reading reader: inout ConfigurationReader, rotatedSize: Int, maximumPositionCount: Int
  ) {
    self.init(base: 1, rotatedSize: rotatedSize)
    let parameters = Self.object("rope_parameters", in: &reader)
    let scaling = Self.object("rope_scaling", in: &reader)
    base = Self.readBase(parameters: parameters, from: &reader)

    if let parameters {
      self.scaling = Self.readScaling(
        parameters, at: "rope_parameters", maximumPositionCount: maximumPositionCount, in: &reader)
    }
    guard let scaling else { return }
    let older = Self.readScaling(
      scaling, at: "rope_scaling", maximumPositionCount: maximumPositionCount, in: &reader)
    if parameters != nil && older != self.scaling {
      reader.reject(
        "rope_scaling", "contradicts rope_parameters; they must agree or one be absent")
    }
    self.scaling = older
  }

  private static func object(
    _ key: String, in reader: inout ConfigurationReader
  ) -> JSONObject? {
    guard let value = reader.value([key]) else { return nil }
    if value.object == nil { reader.reject(key, "must be an object or null, is \(value.kind)") }
    return value.object
  }

  private static func readBase(
    parameters: JSONObject?, from reader: inout ConfigurationReader
  ) -> Double {
    var nested = ConfigurationReader(parameters ?? JSONObject(), prefix: "rope_parameters.")
    let inner = nested.optionalReal("rope_theta")
    reader.absorb(nested)
    let outer = reader.optionalReal("rope_theta")
    if let inner, let outer, inner != outer {
      reader.reject("rope_theta", "is \(outer), but rope_parameters.rope_theta is \(inner)")
    }
    if let base = inner ?? outer { return base }
    if reader.rejectedKeys.isDisjoint(with: ["rope_theta", "rope_parameters.rope_theta"]) {
      reader.reject("rope_theta", "is missing (or rope_parameters.rope_theta); a number is needed")
    }
    return 1
  }

  private static let yarnKeys: Set<String> = [  // own names
    "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate",
    "attention_factor", "mscale", "mscale_all_dim",
  ]

  private static func readScaling(
    _ object: JSONObject, at key: String, maximumPositionCount: Int,
    in reader: inout ConfigurationReader
  ) -> Scaling {
    var nested = ConfigurationReader(object, prefix: "\(key).")
    defer { reader.absorb(nested) }
    let type = nested.optionalString("rope_type", "type") ?? "default"
    // own names
    var known: Set<String> = ["rope_type", "type", "rope_theta", "partial_rotary_factor"]
    if let part = nested.optionalReal("partial_rotary_factor"), part != 1 {
      nested.reject(
        "partial_rotary_factor", "must be 1 for this family, which rotates whole heads, is \(part)")
    }

    let scaling: Scaling
    switch type {
    case "default": scaling = .none
    case "linear":
      known.insert("factor")
      scaling = .linear(factor: nested.real("factor"))
    case "dynamic":
      known.formUnion(["factor", "original_max_position_embeddings"])
      // Both transformers versions measure this stretch from max_position_embeddings.
      let original = nested.optionalInteger("original_max_position_embeddings")
      if let original, original != maximumPositionCount {
        nested.reject(
          "original_max_position_embeddings",
          "must be max_position_embeddings (\(maximumPositionCount)) or absent with rope_type "
            + "dynamic, is \(original)")
      }
      scaling = .dynamic(
        factor: nested.real("factor"), originalPositionCount: maximumPositionCount)
    case "yarn":
      known.formUnion(yarnKeys)
      scaling = .yarn(readYaRN(from: &nested))
    default:
      nested.reject(
        object["rope_type"] == nil ? "type" : "rope_type",
        "must be one of default, linear, dynamic, yarn, is \(type)")
      return .none
    }
    for name in object.keys where !known.contains(name) && object[name] != .null {
      nested.reject(name, "has no meaning with rope_type \(type)")
    }
    return scaling
  }

  private static func readYaRN(from nested: inout ConfigurationReader) -> YaRNScaling {
    YaRNScaling(
      factor: nested.real("factor"),
      originalPositionCount: nested.integer("original_max_position_embeddings"),
      fastRotationCount: nested.real("beta_fast", default: 32),
      slowRotationCount: nested.real("beta_slow", default: 1),
      truncatesRamp: nested.boolean("truncate", default: true),
      attentionFactor: nested.optionalReal("attention_factor"),
      magnitudeScale: nested.optionalReal("mscale"),
      magnitudeScaleAllDimensions: nested.optionalReal("mscale_all_dim"))
  }
}
