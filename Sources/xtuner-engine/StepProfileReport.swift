import Foundation
import Torch
import XTunerRun
import XTunerTokenizers

/// The table of `bench step --profile`: where the time of a step goes, and against which limit.
struct StepProfileReport {
  let profile: OperationProfile
  let stepCount: Int
  /// Seconds of all profiled steps.
  let seconds: Double
  /// FLOP/s of the best bf16 matrix product.
  let productPeak: Double
  /// Bytes/s of memory, `a += 3 b`.
  let bandwidth: Double
  let writesJSON: Bool

  /// Operations below this share of the time are summed up in one line.
  private static let smallestShare = 0.002

  func write() {
    if writesJSON { return Output.write(object.text()) }
    let stepTime = String(format: "%.1f", seconds / Double(stepCount) * 1000)
    Output.write(
      """

      \(stepCount) profiled steps of \(stepTime) ms; limits: \
      \(NumberFormat.si(productPeak))FLOP/s, \(NumberFormat.si(bandwidth))B/s
      """)
    var rows = [["operation", "calls", "ms", "share", "rate", "of limit"]]
    var (restCount, restSeconds) = (0, 0.0)
    for operation in profile.operations {
      guard operation.seconds >= seconds * Self.smallestShare else {
        restCount += operation.callCount
        restSeconds += operation.seconds
        continue
      }
      rows.append(row(operation))
    }
    rows.append(row("others", calls: restCount, seconds: restSeconds))
    rows.append(row("outside operations", calls: nil, seconds: seconds - profile.seconds))
    Output.write(Self.aligned(rows))
    let perStep = { (count: Int) in count / stepCount }
    Output.write(
      """
      a step takes \(perStep(profile.allocationCount)) blocks of tensor memory, \
      \(NumberFormat.bytes(perStep(profile.allocatedByteCount))) in all, \
      \(NumberFormat.bytes(profile.peakByteCount)) at most at a time; copies: \
      \(Self.copies.map { "\($0) \(perStep(profile.callCount("aten::\($0)")))" }.joined(separator: ", "))
      """)
  }

  private static let copies = ["copy_", "clone", "contiguous"]

  private func row(_ operation: OperationProfile.Operation) -> [String] {
    var row = row(
      [operation.name, operation.shapes].filter { !$0.isEmpty }.joined(separator: " "),
      calls: operation.callCount, seconds: operation.seconds)
    if let rate = rate(operation) {
      row[4] = "\(NumberFormat.si(rate.value))\(rate.unit)"
      row[5] = String(format: "%.0f%%", rate.share * 100)
    }
    return row
  }

  private func row(_ name: String, calls: Int?, seconds: Double) -> [String] {
    let count = calls.map { String(format: "%g", Double($0) / Double(stepCount)) } ?? ""
    return [
      name, count, String(format: "%.2f", seconds / Double(stepCount) * 1000),
      NumberFormat.percent(seconds / self.seconds), "", "",
    ]
  }

  /// What the operation achieves; nil for one that mostly calls others, or whose traffic is unknown.
  private func rate(
    _ operation: OperationProfile.Operation
  ) -> (value: Double, unit: String, share: Double)? {
    if let flops = operation.flops {
      let value = flops / operation.totalSeconds
      return (value, "FLOP/s", value / productPeak)
    }
    guard operation.seconds > operation.totalSeconds / 2, operation.byteCount > 0 else {
      return nil
    }
    let value = operation.byteCount / operation.seconds
    // Beyond the caches' speed: a view, or an operation that touches a part of its input.
    return value > 8 * bandwidth ? nil : (value, "B/s", value / bandwidth)
  }

  private var object: JSONValue {
    let operations = profile.operations.map { operation in
      JSONValue.members([
        "name": .string(operation.name), "shapes": .string(operation.shapes),
        "calls": .number(Double(operation.callCount) / Double(stepCount)),
        "seconds": .number(operation.seconds / Double(stepCount)),
        "flops": .number(operation.flops.map { $0 / Double(stepCount) }),
        "bytes": .number(operation.byteCount / Double(stepCount)),
      ])
    }
    return .members([
      "profile_steps": .integer(stepCount), "step_seconds": .number(seconds / Double(stepCount)),
      "product_peak_gflops": .number(productPeak / 1e9),
      "bandwidth_gb_per_second": .number(bandwidth / 1e9),
      "allocations": .integer(profile.allocationCount / stepCount),
      "allocated_bytes": .integer(profile.allocatedByteCount / stepCount),
      "operations": .array(operations),
    ])
  }

  /// Columns below each other, the first one from the left.
  private static func aligned(_ rows: [[String]]) -> String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      row.indices.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        return column == 0 ? row[0] + padding : padding + row[column]
      }.joined(separator: "  ").trimmingCharacters(in: .whitespaces)
    }.joined(separator: "\n")
  }
}
