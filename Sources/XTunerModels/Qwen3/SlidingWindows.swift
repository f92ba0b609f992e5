/// Which layers of a `config.json` attend through a window.
extension Qwen3 {
  /// The window of each layer; nil for full attention.
  ///
  /// A `sliding_window` counts only with `use_sliding_window: true`. Then a dense model slides in
  /// the layers from `max_window_layers` on, or in those that `layer_types` names; a
  /// mixture-of-experts model slides in all.
  static func readSlidingWindows(
    family: ModelFamily, layerCount: Int, from reader: inout ConfigurationReader
  ) -> [Int?] {
    let full = [Int?](repeating: nil, count: layerCount)
    let isSliding = reader.boolean("use_sliding_window", default: false)
    let types = reader.optionalStrings("layer_types")
    if let types { check(types, layerCount: layerCount, isSliding: isSliding, in: &reader) }
    guard isSliding else { return full }

    let window = reader.integer("sliding_window")
    if let types {
      guard types.count == layerCount else { return full }
      return types.map { $0 == slidingType ? window : nil }
    }
    guard family == .qwen3 else { return Array(repeating: window, count: layerCount) }
    let firstSliding = reader.integer("max_window_layers")
    return (0..<layerCount).map { $0 >= firstSliding ? window : nil }
  }

  static let slidingType = "sliding_attention"
  static let fullType = "full_attention"

  private static func check(
    _ types: [String], layerCount: Int, isSliding: Bool, in reader: inout ConfigurationReader
  ) {
    if types.count != layerCount && !reader.rejectedKeys.contains("num_hidden_layers") {
      reader.reject(
        "layer_types",
        "must have one entry for each of the \(layerCount) layers, has \(types.count)")
    }
    let known = [slidingType, fullType]
    if let (layer, type) = types.enumerated().first(where: { !known.contains($1) }) {
      reader.reject(
        "layer_types", "must hold \(fullType) or \(slidingType), is \(type) in layer \(layer)")
    }
    if !isSliding, let layer = types.firstIndex(of: slidingType) {
      reader.reject(
        "layer_types", "asks for \(slidingType) in layer \(layer), but use_sliding_window is false")
    }
  }
}
