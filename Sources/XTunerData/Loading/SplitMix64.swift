/// A counter-based random generator: value `i` of a stream is a fixed function of (seed, i).
///
/// It is our own so that an order never changes with the standard library's version. The constants
/// are those of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
public struct SplitMix64: RandomNumberGenerator, Sendable, Equatable {
  private static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15
  private var counter: UInt64

  /// Starts the stream of `seed` and of every further key: distinct keys give unrelated streams.
  public init(seed: UInt64, keys: UInt64...) {
    counter = Self.mixed(seed)
    for key in keys {
      counter = Self.mixed(counter &+ Self.increment &+ key)
    }
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    counter &+= Self.increment
    return Self.mixed(counter)
  }

  /// An unbiased value in `0..<bound`.
  public mutating func next(below bound: UInt64) -> UInt64 {
    precondition(bound > 0, "bound must be positive")
    // Lemire's multiplication with rejection of the few low products that would be biased.
    var product = next().multipliedFullWidth(by: bound)
    if product.low < bound {
      let threshold = (0 &- bound) % bound
      while product.low < threshold {
        product = next().multipliedFullWidth(by: bound)
      }
    }
    return product.high
  }

  /// Puts `values` into a uniformly random order (Fisher-Yates from the end).
  public mutating func shuffle(_ values: inout [Int32]) {
    guard values.count > 1 else { return }
    for last in stride(from: values.count - 1, to: 0, by: -1) {
      values.swapAt(last, Int(next(below: UInt64(last) + 1)))
    }
  }

  /// A bijective 64-bit mix: every input bit reaches every output bit.
  public static func mixed(_ value: UInt64) -> UInt64 {
    var mix = value
    mix = (mix ^ (mix >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mix = (mix ^ (mix >> 27)) &* 0x94D0_49BB_1331_11EB
    return mix ^ (mix >> 31)
  }
}
