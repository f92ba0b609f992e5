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
