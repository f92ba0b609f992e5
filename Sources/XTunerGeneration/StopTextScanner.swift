/// Looks for stop strings in text that arrives in pieces, and holds back what may begin one.
struct StopTextScanner {
  private let stops: [[UInt8]]
  private let texts: [String]
  /// Text that was not handed out, since it may be the beginning of a stop string.
  private var held: [UInt8] = []

  init(_ stopStrings: [String]) {
    texts = stopStrings
    stops = stopStrings.map { Array($0.utf8) }
  }

  /// The text that is now certain to come before any stop string, and the stop string that was
  /// found, the one that begins first; text behind it is dropped.
  mutating func append(_ text: String) -> (text: String, stop: String?) {
    guard !stops.isEmpty else { return (text, nil) }
    held += Array(text.utf8)
    for start in held.indices {
      for (stop, name) in zip(stops, texts) where held[start...].starts(with: stop) {
        let before = held[..<start]
        held = []
        return (String(decoding: before, as: UTF8.self), name)
      }
    }
    let start = held.indices.first { start in
      stops.contains { $0.starts(with: held[start...]) }
    }
    let certain = held[..<(start ?? held.endIndex)]
    held = Array(held[certain.endIndex...])
    return (String(decoding: certain, as: UTF8.self), nil)
  }

  /// The text that was held back, when nothing more comes.
  mutating func finish() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }
}
