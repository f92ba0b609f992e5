/// The key `quantization_config` of a `config.json`, which says how a file's matrices are quantised.
extension ModelConfiguration {
  private static let key = "quantization_config"
  private static let blockSize: JSONDocument = .array([.integer(128), .integer(128)])

  /// Whether the matrices are float8 blocks; every other quantisation is refused.
  static func readFloat8Blocks(from reader: inout ConfigurationReader) -> Bool {
    guard let value = reader.value([key]) else { return false }
    guard let object = value.object else {
      reader.reject(key, "must be an object, is \(value.kind)")
      return false
    }
    let hint = "use the bfloat16 release of the model"
    func expect(_ name: String, _ expected: JSONDocument, isRequired: Bool) {
      let found = object[name].flatMap { $0.isNull ? nil : $0 }
      if found == expected || found == nil && !isRequired { return }
      reader.reject(
        key,
        "\(name) must be \(expected.compactText()), is \(found?.compactText() ?? "absent"); \(hint)"
      )
    }
    expect("quant_method", .string("fp8"), isRequired: true)
    expect("weight_block_size", blockSize, isRequired: true)
    expect("fmt", .string("e4m3"), isRequired: false)
    // Published scales of activations would be ignored: they are taken from each tile.
    expect("activation_scheme", .string("dynamic"), isRequired: false)
    return !reader.rejectedKeys.contains(key)
  }

  /// What `quantization_config` says of this model's files.
  var float8Document: JSONDocument? {
    guard hasFloat8Blocks else { return nil }
    var object = JSONObject()
    object["activation_scheme"] = .string("dynamic")
    object["fmt"] = .string("e4m3")
    object["modules_to_not_convert"] = .array(
      family.unquantizedModules(self).map { .string($0) })
    object["quant_method"] = .string("fp8")
    object["weight_block_size"] = Self.blockSize
    return .object(object)
  }
}
