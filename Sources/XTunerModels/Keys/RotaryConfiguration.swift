import Foundation

/// Rotary position embedding: which frequencies, and how they are stretched for long contexts.
public struct RotaryConfiguration: Sendable, Hashable {
  /// How the frequencies are changed from those of the original context.
  public enum Scaling: Sendable, Hashable {
    /// Unchanged.
    case none
    /// All frequencies divided by a factor.
    case linear(factor: Double)
    /// The base grows with the length once it passes the original context (NTK-aware).
    case dynamic(factor: Double, originalPositionCount: Int)
    /// Low frequencies divided by a factor, high ones kept, a ramp between.
    case yarn(YaRNScaling)
  }

  /// Base of the geometric series of frequencies.
  public var base: Double
  /// Entries of a head that are rotated; even.
  public var rotatedSize: Int
  /// Whether neighbours are rotated against each other, rather than the two halves of the head.
  public var isInterleaved: Bool
  /// How the frequencies are changed.
  public var scaling: Scaling

  /// An embedding from its parts.
  public init(
    base: Double, rotatedSize: Int, isInterleaved: Bool = false, scaling: Scaling = .none
  ) {
    self.base = base
    self.rotatedSize = rotatedSize
    self.isInterleaved = isInterleaved
    self.scaling = scaling
  }
}

/// Parameters of YaRN.
public struct YaRNScaling: Sendable, Hashable {
  /// How many times longer the context is than the original.
  public var factor: Double
  /// Context of the original training, in tokens.
  public var originalPositionCount: Int
  /// Rotations over the original context above which a frequency is kept; 32 where a file has none.
  public var fastRotationCount: Double
  /// Rotations over the original context below which a frequency is divided; 1 where a file has
  /// none.
  public var slowRotationCount: Double
  /// Whether the ramp's ends are rounded outwards to whole dimensions; true where a file has none.
  public var truncatesRamp: Bool
  /// Factor on cosine and sine, where the file gives it.
  public var attentionFactor: Double?
  /// `mscale` of the file.
  public var magnitudeScale: Double?
  /// `mscale_all_dim` of the file.
  public var magnitudeScaleAllDimensions: Double?

  /// YaRN from its parts, with the published defaults for what files leave out.
  public init(
    factor: Double, originalPositionCount: Int, fastRotationCount: Double = 32,
    slowRotationCount: Double = 1, truncatesRamp: Bool = true, attentionFactor: Double? = nil,
    magnitudeScale: Double? = nil, magnitudeScaleAllDimensions: Double? = nil
  ) {
    self.factor = factor
    self.originalPositionCount = originalPositionCount
    self.fastRotationCount = fastRotationCount
    self.slowRotationCount = slowRotationCount
    self.truncatesRamp = truncatesRamp
    self.attentionFactor = attentionFactor
    self.magnitudeScale = magnitudeScale
    self.magnitudeScaleAllDimensions = magnitudeScaleAllDimensions
  }

  /// `0.1 · scale · ln(factor) + 1`, and 1 for factors up to 1.
  static func magnitude(factor: Double, scale: Double) -> Double {
    factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1
  }
}

extension RotaryConfiguration {
  /// Angle a position adds to each rotated pair, in radians; `rotatedSize / 2` values.
  ///
  /// Computed in double precision and rounded once. `length` is the sample's count of tokens; only the
  /// dynamic scaling depends on it.
  public func inverseFrequencies(length: Int = 0) -> [Float] {
    switch scaling {
    case .none: frequencies(base: base).map { Float($0) }
    case .linear(let factor): frequencies(base: base).map { Float($0 / factor) }
    case .dynamic(let factor, let original):
      frequencies(base: dynamicBase(factor: factor, original: original, length: length))
        .map { Float($0) }
    case .yarn(let yarn): yarnFrequencies(yarn)
    }
  }

  /// Factor on cosine and sine; 1 except with YaRN.
  public var attentionFactor: Double {
    guard case .yarn(let yarn) = scaling else { return 1 }
    if let factor = yarn.attentionFactor { return factor }
    if let scale = yarn.magnitudeScale, let all = yarn.magnitudeScaleAllDimensions,
      scale != 0, all != 0
    {
      return YaRNScaling.magnitude(factor: yarn.factor, scale: scale)
        / YaRNScaling.magnitude(factor: yarn.factor, scale: all)
    }
    return YaRNScaling.magnitude(factor: yarn.factor, scale: 1)
  }

  private func frequencies(base: Double) -> [Double] {
    (0..<rotatedSize / 2).map { pow(base, -2 * Double($0) / Double(rotatedSize)) }
  }

  private func dynamicBase(factor: Double, original: Int, length: Int) -> Double {
    guard length > original else { return base }
    let stretch = factor * Double(length) / Double(original) - (factor - 1)
    return base * pow(stretch, Double(rotatedSize) / Double(rotatedSize - 2))
  }

  private func yarnFrequencies(_ yarn: YaRNScaling) -> [Float] {
    let (low, high) = yarnRamp(yarn)
    return frequencies(base: base).enumerated().map { index, frequency in
      let ramp = min(max((Double(index) - low) / (high - low), 0), 1)
      return Float(ramp * frequency / yarn.factor + (1 - ramp) * frequency)
    }
  }

  /// The dimensions between which YaRN passes from kept to divided frequencies.
  func yarnRamp(_ yarn: YaRNScaling) -> (low: Double, high: Double) {
    func dimension(rotations: Double) -> Double {
      let wavelength = Double(yarn.originalPositionCount) / (rotations * 2 * Double.pi)
      return Double(rotatedSize) * log(wavelength) / (2 * log(base))
    }
    var low = dimension(rotations: yarn.fastRotationCount)
    var high = dimension(rotations: yarn.slowRotationCount)
    if yarn.truncatesRamp {
      low = low.rounded(.down)
      high = high.rounded(.up)
    }
    low = max(low, 0)
    high = min(high, Double(rotatedSize - 1))
    // A ramp without width would divide by zero; the published value is kept.
    if low == high { high += 0.001 }
    return (low, high)
  }
}
