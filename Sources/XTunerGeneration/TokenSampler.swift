import Foundation

/// Chooses a token from the logits of one position, on the host.
struct TokenSampler {
  let temperature: Double
  let topP: Double
  let topK: Int?

  init(_ options: SamplingOptions) {
    temperature = options.temperature
    topP = options.topP
    topK = options.topK
  }

  /// The chosen token, or nil when a logit is NaN or +infinity, or all are -infinity.
  ///
  /// `uniform` is called for a number in [0, 1), at most once, and not for greedy choices.
  func choose(_ logits: UnsafeBufferPointer<Float>, uniform: () -> Double) -> Int? {
    guard let best = Self.largest(logits) else { return nil }
    guard temperature > 0 else { return best }
    let candidates = kept(logits, largest: Double(logits[best]))
    let target = uniform() * candidates.reduce(0) { $0 + $1.weight }
    var sum = 0.0
    for candidate in candidates {
      sum += candidate.weight
      if target < sum { return candidate.token }
    }
    // Rounding can leave the target at the very end.
    return candidates.last(where: { $0.weight > 0 })?.token ?? best
  }

  /// The tokens that may be chosen with weights in proportion to their probabilities: first the
  /// `topK` most likely, then of those the fewest that together reach `topP`.
  func kept(
    _ logits: UnsafeBufferPointer<Float>, largest: Double
  ) -> [(token: Int, weight: Double)] {
    let limit = topK.map { Self.value(logits, rank: $0) } ?? -.infinity
    var candidates: [(token: Int, weight: Double)] = []
    for (token, logit) in logits.enumerated() where logit >= limit {
      candidates.append((token, exp((Double(logit) - largest) / temperature)))
    }
    guard topP < 1 else { return candidates }
    let total = candidates.reduce(0) { $0 + $1.weight }
    // Tokens below this share are together less than 1 - topP, so none of them is needed: the sort
    // sees few tokens.
    let floor = (1 - topP) / Double(candidates.count) * total
    candidates.removeAll { $0.weight < floor }
    candidates.sort { $0.weight == $1.weight ? $0.token < $1.token : $0.weight > $1.weight }
    var sum = 0.0
    for (index, candidate) in candidates.enumerated() {
      sum += candidate.weight
      if sum >= topP * total { return Array(candidates[...index]) }
    }
    return candidates
  }

  /// The `rank`-th largest logit, counted from 1; the smallest when there are fewer.
  private static func value(_ logits: UnsafeBufferPointer<Float>, rank: Int) -> Float {
    var best: [Float] = []
    for logit in logits {
      if best.count == rank {
        guard logit > best[0] else { continue }
        best.removeFirst()
      }
      let place = best.firstIndex { $0 >= logit } ?? best.endIndex
      best.insert(logit, at: place)
    }
    return best.first ?? -.infinity
  }

  /// The first of the largest logits; nil where there is none that is finite, or a NaN.
  private static func largest(_ logits: UnsafeBufferPointer<Float>) -> Int? {
    var best: Int?
    var value = -Float.infinity
    for index in logits.indices {
      let logit = logits[index]
      if logit.isNaN { return nil }
      if logit > value {
        value = logit
        best = index
      }
    }
    return value.isFinite ? best : nil
  }
}

/// Random numbers of one sequence: number n is a function of the key and n alone, so that a sequence
/// does not depend on what is generated beside it.
struct SequenceRandom {
  private let key: UInt64
  private var counter: UInt64 = 0

  /// The numbers of the `occurrence`-th sequence with this prompt in one call.
  init(seed: UInt64, prompt: [Int32], occurrence: Int) {
    var hash = Self.mixed(seed &+ 0x9e37_79b9_7f4a_7c15)
    for id in prompt { hash = Self.mixed(hash ^ UInt64(UInt32(bitPattern: id))) }
    key = Self.mixed(hash ^ (UInt64(occurrence) << 32))
  }

  /// The next number, uniform in [0, 1) in steps of 2^-53.
  mutating func next() -> Double {
    counter += 1
    return Double(Self.mixed(key &+ counter &* 0x9e37_79b9_7f4a_7c15) >> 11) * 0x1p-53
  }

  /// SplitMix64's finaliser.
  private static func mixed(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
