import Testing

@testable import XTunerModels

struct YaRNCase: Sendable, CustomTestStringConvertible {
  var name: String
  var base: Double
  var scaling: YaRNScaling
  var low: Double
  var high: Double
  var frequencies: [Int: Float]
  var testDescription: String { name }
}

@Suite struct RotaryConfigurationTests {
  /// Values of the reference implementation for 64 rotated entries.
  static let cases = [
    YaRNCase(
      name: "factor 32, base 150000, ramp not truncated", base: 150_000,
      scaling: YaRNScaling(factor: 32, originalPositionCount: 4096, truncatesRamp: false),
      low: 8.092779, high: 17.398025,
      frequencies: [
        5: 0.155322984, 9: 0.0317056961, 12: 0.00679495931, 20: 1.8188337e-05, 31: 3.0235114e-07,
      ]),
    YaRNCase(
      name: "factor 40, base 10000", base: 10_000,
      scaling: YaRNScaling(factor: 40, originalPositionCount: 4096), low: 10, high: 23,
      frequencies: [
        5: 0.237137362, 9: 0.0749894157, 12: 0.0268793628, 20: 7.90569407e-04, 31: 3.33380376e-06,
      ]),
    YaRNCase(
      name: "factor 32, base 50000, one rotation", base: 50_000,
      scaling: YaRNScaling(factor: 32, originalPositionCount: 4096, fastRotationCount: 1),
      low: 19, high: 20,
      frequencies: [
        5: 0.184410617, 9: 0.0476886146, 12: 0.0172936339, 20: 3.61404673e-05, 31: 8.76441277e-07,
      ]),
    YaRNCase(
      name: "factor 64, base 50000", base: 50_000,
      scaling: YaRNScaling(factor: 64, originalPositionCount: 4096), low: 8, high: 20,
      frequencies: [
        5: 0.184410617, 9: 0.0437766574, 12: 0.01161916, 20: 1.80702336e-05, 31: 4.38220638e-07,
      ]),
  ]

  /// The reference works in single precision, which rounds twice.
  private func expectClose(_ found: Float, _ expected: Float) {
    #expect(abs(found - expected) <= 1e-6 * expected, "found \(found), expected \(expected)")
  }

  @Test(arguments: cases)
  func yarnEqualsTheReference(example: YaRNCase) {
    let rotary = RotaryConfiguration(
      base: example.base, rotatedSize: 64, scaling: .yarn(example.scaling))
    let ramp = rotary.yarnRamp(example.scaling)
    #expect(abs(ramp.low - example.low) < 1e-6 && abs(ramp.high - example.high) < 1e-6)
    let frequencies = rotary.inverseFrequencies()
    #expect(frequencies.count == 32)
    for (index, expected) in example.frequencies { expectClose(frequencies[index], expected) }
  }

  @Test func aRampWithoutWidthStaysFinite() {
    let yarn = YaRNScaling(
      factor: 32, originalPositionCount: 4096, fastRotationCount: 1, truncatesRamp: false)
    let rotary = RotaryConfiguration(base: 50_000, rotatedSize: 64, scaling: .yarn(yarn))
    let ramp = rotary.yarnRamp(yarn)
    #expect(abs(ramp.low - 19.164575) < 1e-6 && ramp.high == ramp.low + 0.001)
    #expect(rotary.inverseFrequencies().allSatisfy { $0.isFinite && $0 > 0 })
  }

  @Test func attentionFactorFollowsTheFile() {
    func factor(_ yarn: YaRNScaling) -> Double {
      RotaryConfiguration(base: 10_000, rotatedSize: 64, scaling: .yarn(yarn)).attentionFactor
    }
    var yarn = YaRNScaling(factor: 32, originalPositionCount: 4096)
    #expect(abs(factor(yarn) - 1.3465735902799727) < 1e-15)
    yarn.magnitudeScale = 1
    yarn.magnitudeScaleAllDimensions = 1
    #expect(factor(yarn) == 1)
    yarn.attentionFactor = 1.25
    #expect(factor(yarn) == 1.25)
    #expect(factor(YaRNScaling(factor: 1, originalPositionCount: 4096)) == 1)
    #expect(RotaryConfiguration(base: 10_000, rotatedSize: 64).attentionFactor == 1)
  }

  @Test func defaultLinearAndDynamicEqualTheReference() {
    let plain = RotaryConfiguration(base: 1_000_000, rotatedSize: 128).inverseFrequencies()
    #expect(plain.count == 64 && plain[0] == 1)
    expectClose(plain[32], 0.001)
    let linear = RotaryConfiguration(base: 10_000, rotatedSize: 64, scaling: .linear(factor: 4))
      .inverseFrequencies()
    for (index, expected) in [0: Float(0.25), 5: 0.05928434, 31: 3.3338036e-05] {
      expectClose(linear[index], expected)
    }
    let dynamic = RotaryConfiguration(
      base: 10_000, rotatedSize: 64, scaling: .dynamic(factor: 2, originalPositionCount: 1024))
    #expect(
      dynamic.inverseFrequencies(length: 1024)
        == RotaryConfiguration(base: 10_000, rotatedSize: 64).inverseFrequencies())
    let stretched = dynamic.inverseFrequencies(length: 4096)
    for (index, expected) in [0: Float(1), 5: 0.17325823, 31: 1.9050306e-05] {
      expectClose(stretched[index], expected)
    }
  }
}
