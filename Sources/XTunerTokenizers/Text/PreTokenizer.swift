/// Cuts normalised text into the pieces that merges stay inside of.
struct PreTokenizer: Sendable {
  /// What becomes of the matches of a pattern.
  enum Behavior: String, Sendable, CaseIterable {
    case isolated = "Isolated"
    case removed = "Removed"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  enum Stage: Sendable {
    case split(CompiledPattern, Behavior, isInverted: Bool)
    /// Puts a space in front of a piece that does not begin with one.
    case spacePrefix
  }

  private(set) var stages: [Stage] = []
  /// Whether pieces are spelled in bytes; otherwise in characters.
  private(set) var isByteLevel = false

  /// The pattern of `ByteLevel` with `use_regex`, from GPT-2.
  static let byteLevelPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

  init() {}

  /// Byte-level pieces cut by `patterns`, one after the other.
  init(patterns: [String], file: String, key: String) throws(TokenizerError) {
    for pattern in patterns {
      stages.append(
        .split(try CompiledPattern(pattern, file: file, key: key), .isolated, isInverted: false))
    }
    isByteLevel = true
  }

  /// Reads the `pre_tokenizer` key.
  init(_ node: ConfigurationNode) throws(TokenizerError) { try add(node) }

  private mutating func add(_ node: ConfigurationNode) throws(TokenizerError) {
    let type = try node.type(of: "pre_tokenizer")
    guard !isByteLevel else {
      throw node.error(
        .unsupported, "\(type) comes after ByteLevel; ByteLevel must be the last pre-tokenizer")
    }
    switch type {
    case "Sequence":
      for element in try node.required("pretokenizers").elements() { try add(element) }
    case "Split":
      let name = try node.required("behavior")
      guard let behavior = Behavior(rawValue: try name.string()) else {
        let known = Behavior.allCases.map(\.rawValue).joined(separator: ", ")
        throw name.error(.unsupported, "is \(name.value.kind); known are \(known)")
      }
      stages.append(
        .split(
          try PatternSource.read(node.required("pattern")), behavior,
          isInverted: try node.bool("invert", default: false)))
    case "Digits":
      let isIndividual = try node.bool("individual_digits", default: false)
      let pattern = try CompiledPattern("\\p{N}", file: node.file, key: node.key)
      stages.append(.split(pattern, isIndividual ? .isolated : .contiguous, isInverted: false))
    case "ByteLevel":
      if try node.bool("add_prefix_space", default: true) { stages.append(.spacePrefix) }
      if try node.bool("use_regex", default: true) {
        let pattern = try CompiledPattern(Self.byteLevelPattern, file: node.file, key: node.key)
        stages.append(.split(pattern, .isolated, isInverted: false))
      }
      isByteLevel = true
    default:
      throw node.error(
        .unsupported,
        "the pre-tokenizer \(type) is not implemented; known are Split, Digits, ByteLevel, Sequence"
      )
    }
  }

  /// Hands every piece of `text`, which is not empty, to `body` in order.
  @inline(__always)
  func forEachPiece(
    of text: UnsafeBufferPointer<UInt8>, matcher: PatternMatcher,
    _ body: (UnsafeBufferPointer<UInt8>) -> Void
  ) {
    run(stage: 0, text, matcher, body)
  }

  private func run(
    stage: Int, _ text: UnsafeBufferPointer<UInt8>, _ matcher: PatternMatcher,
    _ body: (UnsafeBufferPointer<UInt8>) -> Void
  ) {
    guard let base = text.baseAddress, text.count > 0 else { return }
    guard stage < stages.count else {
      body(text)
      return
    }
    switch stages[stage] {
    case .spacePrefix:
      guard text[0] != 0x20 else {
        run(stage: stage + 1, text, matcher, body)
        return
      }
      let prefixed = [0x20] + Array(text)
      prefixed.withUnsafeBufferPointer { run(stage: stage + 1, $0, matcher, body) }
    case .split(let pattern, .isolated, isInverted: _):
      let isLast = stage + 1 == stages.count
      var position = 0
      @inline(__always)
      func emit(_ start: Int, _ end: Int) {
        let piece = UnsafeBufferPointer(start: base + start, count: end - start)
        if isLast { body(piece) } else { run(stage: stage + 1, piece, matcher, body) }
      }
      while position < text.count,
        let match = nextMatch(of: pattern, in: text, base, from: position, matcher)
      {
        if match.start > position { emit(position, match.start) }
        emit(match.start, match.end)
        position = match.end
      }
      if position < text.count { emit(position, text.count) }
    case .split(let pattern, let behavior, let isInverted):
      for span in spans(of: pattern, behavior, isInverted, in: text, base, matcher) {
        run(
          stage: stage + 1, UnsafeBufferPointer(rebasing: text[span]), matcher, body)
      }
    }
  }

  /// The next match that is not empty.
  @inline(__always)
  private func nextMatch(
    of pattern: CompiledPattern, in text: UnsafeBufferPointer<UInt8>,
    _ base: UnsafePointer<UInt8>, from start: Int, _ matcher: PatternMatcher
  ) -> (start: Int, end: Int)? {
    var position = start
    while position < text.count,
      let match = matcher.firstMatch(of: pattern, in: base, count: text.count, from: position)
    {
      if match.end > match.start { return match }
      position = match.end + 1
      while position < text.count, text[position] & 0xC0 == 0x80 { position += 1 }
    }
    return nil
  }

  private func spans(
    of pattern: CompiledPattern, _ behavior: Behavior, _ isInverted: Bool,
    in text: UnsafeBufferPointer<UInt8>, _ base: UnsafePointer<UInt8>, _ matcher: PatternMatcher
  ) -> [Range<Int>] {
    var parts: [(range: Range<Int>, isMatch: Bool)] = []
    var position = 0
    while let match = nextMatch(of: pattern, in: text, base, from: position, matcher) {
      if match.start > position { parts.append((position..<match.start, isInverted)) }
      parts.append((match.start..<match.end, !isInverted))
      position = match.end
    }
    if position < text.count { parts.append((position..<text.count, isInverted)) }
    return Self.arrange(parts, behavior)
  }

  /// Joins or drops neighbouring parts as `behavior` says.
  static func arrange(
    _ parts: [(range: Range<Int>, isMatch: Bool)], _ behavior: Behavior
  ) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var wasMatch: Bool?
    switch behavior {
    case .isolated: return parts.map(\.range)
    case .removed: return parts.filter { !$0.isMatch }.map(\.range)
    case .contiguous:
      for part in parts {
        if part.isMatch == wasMatch, let last = result.popLast() {
          result.append(last.lowerBound..<part.range.upperBound)
        } else {
          result.append(part.range)
        }
        wasMatch = part.isMatch
      }
    case .mergedWithPrevious:
      for part in parts {
        if part.isMatch, wasMatch != true, let last = result.popLast() {
          result.append(last.lowerBound..<part.range.upperBound)
        } else {
          result.append(part.range)
        }
        wasMatch = part.isMatch
      }
    case .mergedWithNext:
      for part in parts.reversed() {
        if part.isMatch, wasMatch != true, let last = result.popLast() {
          result.append(part.range.lowerBound..<last.upperBound)
        } else {
          result.append(part.range)
        }
        wasMatch = part.isMatch
      }
      result.reverse()
    }
    return result
  }
}
