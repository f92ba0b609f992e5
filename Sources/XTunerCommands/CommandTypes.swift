public import ArgumentParser
public import XTunerConfiguration
import XTunerInput

extension ModelOptions.ComputeType: ExpressibleByArgument {}

extension OptimizerOptions.State: ExpressibleByArgument {}

extension RunOptions.DeviceChoice: ExpressibleByArgument {
  /// Figures are of a device that was named, so `auto` is no choice on a command line.
  public static var allValueStrings: [String] {
    allCases.filter { $0 != .auto }.map(\.rawValue)
  }

  /// The choice of that name, unless it is `auto`.
  public init?(argument: String) {
    guard Self.allValueStrings.contains(argument) else { return nil }
    self.init(rawValue: argument)
  }
}

/// The number type of an exported folder's weights.
package enum ExportType: String, ExpressibleByArgument, CaseIterable, Sendable {
  /// 32-bit floating point.
  case float32 = "f32"
  /// 16-bit floating point with the range of 32 bits.
  case bfloat16 = "bf16"
  /// Matrices in float8_e4m3fn with a scale for each block of 128 x 128, the rest in bf16.
  case float8 = "fp8"
}

/// How experts are chosen where the router is not asked.
package enum ForcedRoutingRule: String, ExpressibleByArgument, CaseIterable, Sendable {
  /// Every expert gets the same number of tokens.
  case uniform
  /// Drawn without repetition, the same in every run.
  case random
}

/// When text is coloured.
package enum ColorMode: String, ExpressibleByArgument, CaseIterable, Sendable {
  /// On a terminal, unless `NO_COLOR` is set.
  case automatic = "auto"
  /// Also into a file or pipe.
  case always
  /// Never.
  case never
}

/// A number that an option accepts only within limits.
enum OptionLimits {
  /// Refuses a value below `minimum` or above `bound`; nothing is always within limits.
  static func check(
    _ option: String, _ value: Int?, from minimum: Int, _ bound: UpperBound<Int>
  ) throws {
    guard let value else { return }
    guard value >= minimum else {
      throw ValidationError("\(option) must be at least \(minimum), is \(value)")
    }
    guard value <= bound.value else {
      throw ValidationError(
        "\(option) must be at most \(bound.value) (\(bound.reason)), is \(value)")
    }
  }

  /// Refuses a value for which `isValid` is false, or that is above `bound` or no number.
  static func check(
    _ option: String, _ value: Double, _ requirement: String, _ bound: UpperBound<Double>,
    isValid: (Double) -> Bool
  ) throws {
    guard isValid(value) else {
      throw ValidationError("\(option) must be \(requirement), is \(value)")
    }
    guard value <= bound.value else {
      throw ValidationError(
        "\(option) must be at most \(bound.value) (\(bound.reason)), is \(value)")
    }
  }
}
