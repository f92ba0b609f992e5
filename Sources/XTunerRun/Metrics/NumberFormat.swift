import Foundation

/// How numbers are shown to people.
public enum NumberFormat {
  /// A duration in its two largest units: `42s`, `12m 03s`, `5h 07m`, `3d 04h`.
  public static func duration(seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "--" }
    if seconds < 10 { return "\(fixed(seconds, digits: 1))s" }
    // A thousand years; beyond it the estimate says nothing, and the integer could overflow.
    let total = Int(min(seconds.rounded(), 3e10))
    let (days, hours) = (total / 86400, total / 3600 % 24)
    let (minutes, rest) = (total / 60 % 60, total % 60)
    if days > 0 { return "\(days)d \(padded(hours))h" }
    if hours > 0 { return "\(hours)h \(padded(minutes))m" }
    if minutes > 0 { return "\(minutes)m \(padded(rest))s" }
    return "\(rest)s"
  }

  /// A number with three digits and a decimal prefix: `987`, `12.3k`, `4.56M`.
  public static func si(_ value: Double) -> String {
    guard value.isFinite else { return word(value) }
    let magnitude = abs(value)
    let prefixes: [(scale: Double, name: String)] = [
      (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"),
    ]
    // 999.5 shows as 1.00k, not as 1000.
    guard let prefix = prefixes.first(where: { magnitude >= $0.scale * 0.9995 }) else {
      return magnitude >= 99.95 || magnitude == magnitude.rounded()
        ? fixed(value, digits: 0) : significant(value)
    }
    return "\(significant(value / prefix.scale))\(prefix.name)"
  }

  /// A size with binary prefixes: `512 B`, `1.50 GiB`.
  public static func bytes(_ count: Int) -> String {
    let names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(count)
    var index = 0
    while abs(value) >= 1023.5, index < names.count - 1 {
      value /= 1024
      index += 1
    }
    return index == 0 ? "\(count) B" : "\(significant(value)) \(names[index])"
  }

  /// A share as a percentage: `31.2%`.
  public static func percent(_ share: Double) -> String {
    share.isFinite ? "\(fixed(share * 100, digits: 1))%" : word(share)
  }

  /// A loss or norm: four decimals, or three digits with an exponent when it is huge or tiny.
  public static func loss(_ value: Double) -> String {
    guard value.isFinite else { return word(value) }
    let magnitude = abs(value)
    if magnitude != 0, magnitude < 1e-3 || magnitude >= 1e5 { return scientific(value) }
    return fixed(value, digits: 4)
  }

  /// Three digits and an exponent, as learning rates are read: `3.00e-04`.
  public static func scientific(_ value: Double) -> String {
    value.isFinite ? String(format: "%.2e", value) : word(value)
  }

  /// A number with a fixed count of decimals.
  static func fixed(_ value: Double, digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }

  private static func significant(_ value: Double) -> String {
    let magnitude = abs(value)
    return fixed(value, digits: magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0)
  }

  private static func padded(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }

  private static func word(_ value: Double) -> String {
    value.isNaN ? "nan" : value > 0 ? "inf" : "-inf"
  }
}
