/// Reading of the rotary keys of a `config.json`.
extension RotaryConfiguration {
  /// From `rope_theta` and `rope_scaling` (hub) or from `rope_parameters` (transformers 5).
  ///
  /// The base may stand in any of them; where it stands twice, both must be the same: transformers 4
  /// takes the outer one then, transformers 5 the inner.
  init(
    reading reader: inout ConfigurationReader, rotatedSize: Int, maximumPositionCount: Int
  ) {
    self.init(base: 1, rotatedSize: rotatedSize)
    let parameters = Self.object("rope_parameters", in: &reader)
    let scaling = Self.object("rope_scaling", in: &reader)
    base = Self.readBase(parameters: parameters, scaling: scaling, from: &reader)
    if let part = reader.optionalReal("partial_rotary_factor"), part != 1 {
      reader.reject("partial_rotary_factor", Self.partialRotationReason(part))
    }
    let context = Context(
      maximumPositionCount: maximumPositionCount,
      originalPositionCount: reader.optionalInteger("original_max_position_embeddings"))

    if let parameters {
      self.scaling = Self.readScaling(parameters, at: "rope_parameters", context, in: &reader)
    }
    guard let scaling else { return }
    let older = Self.readScaling(scaling, at: "rope_scaling", context, in: &reader)
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

  /// What stands outside of the rotary objects and counts inside.
  private struct Context {
    var maximumPositionCount: Int
    /// Of YaRN alone, as in transformers.
    var originalPositionCount: Int?
  }

  private static func readBase(
    parameters: JSONObject?, scaling: JSONObject?, from reader: inout ConfigurationReader
  ) -> Double {
    var found: (key: String, value: Double)?
    var isRejected = false
    func note(_ key: String, _ value: Double?, in reader: inout ConfigurationReader) {
      guard let value else { return }
      if let found, found.value != value {
        reader.reject(key, "is \(value), but \(found.key) is \(found.value)")
      }
      found = found ?? (key, value)
    }
    for (name, object) in [("rope_parameters", parameters), ("rope_scaling", scaling)] {
      guard let object else { continue }
      var nested = ConfigurationReader(object, prefix: "\(name).")
      let value = nested.optionalReal("rope_theta")
      isRejected = isRejected || !nested.problems.isEmpty
      reader.absorb(nested)
      note("\(name).rope_theta", value, in: &reader)
    }
    note("rope_theta", reader.optionalReal("rope_theta"), in: &reader)
    if let found { return found.value }
    if !isRejected && !reader.rejectedKeys.contains("rope_theta") {
      reader.reject("rope_theta", "is missing (or rope_parameters.rope_theta); a number is needed")
    }
    return 1
  }

  private static func partialRotationReason(_ part: Double) -> String {
    "must be 1 for this family, which rotates whole heads, is \(part)"
  }

  private static let yarnKeys: Set<String> = [  // own names
    "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate",
    "attention_factor", "mscale", "mscale_all_dim",
  ]

  private static func readScaling(
    _ object: JSONObject, at key: String, _ context: Context,
    in reader: inout ConfigurationReader
  ) -> Scaling {
    var nested = ConfigurationReader(object, prefix: "\(key).")
    defer { reader.absorb(nested) }
    let type = nested.optionalString("rope_type", "type") ?? "default"
    // own names
    var known: Set<String> = ["rope_type", "type", "rope_theta", "partial_rotary_factor"]
    if let part = nested.optionalReal("partial_rotary_factor"), part != 1 {
      nested.reject("partial_rotary_factor", partialRotationReason(part))
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
      if let original, original != context.maximumPositionCount {
        nested.reject(
          "original_max_position_embeddings",
          "must be max_position_embeddings (\(context.maximumPositionCount)) or absent with rope_type "
            + "dynamic, is \(original)")
      }
      scaling = .dynamic(
        factor: nested.real("factor"), originalPositionCount: context.maximumPositionCount)
    case "yarn":
      known.formUnion(yarnKeys)
      scaling = .yarn(readYaRN(from: &nested, context))
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

  private static func readYaRN(
    from nested: inout ConfigurationReader, _ context: Context
  ) -> YaRNScaling {
    let (key, outer) = ("original_max_position_embeddings", context.originalPositionCount)
    let original = nested.integer(key, default: outer)
    if let outer, original != outer && !nested.hasRejected(key) {
      nested.reject(key, "is \(original), but \(key) beside it is \(outer)")
    }
    return YaRNScaling(
      factor: nested.real("factor"), originalPositionCount: original,
      fastRotationCount: nested.real("beta_fast", default: 32),
      slowRotationCount: nested.real("beta_slow", default: 1),
      truncatesRamp: nested.boolean("truncate", default: true),
      attentionFactor: nested.optionalReal("attention_factor"),
      magnitudeScale: nested.optionalReal("mscale"),
      magnitudeScaleAllDimensions: nested.optionalReal("mscale_all_dim"))
  }
}
