import Foundation
import XTunerCommands
import XTunerData
import XTunerRun
import XTunerSystem
import XTunerTokenizers

/// `xtuner bench pack`.
enum BenchPackHandler {
  static func run(_ command: BenchPackCommand) throws {
    let planner = PackPlanner(mode: .bestFit, sequenceLength: command.sequenceLength)
    var generator = SplitMix(state: 1)
    let lengths = (0..<command.sampleCount).map { _ in
      let length = 400 * exp(generator.normal())
      return Int32(min(Double(command.sequenceLength), max(1, length)))
    }
    let order = (0..<Int32(command.sampleCount)).shuffled(using: &generator)
    var best = Double.infinity
    var packCount = 0
    var fill = 0.0
    for _ in 0..<command.rounds {
      let clock = ContinuousClock()
      let start = clock.now
      let plan = try planner.plan(lengths: lengths, order: order)
      best = min(best, (clock.now - start).seconds)
      packCount = plan.packCount
      fill = plan.efficiency
    }
    let rate = Double(command.sampleCount) / best
    if command.result.isJSON {
      return Output.write([
        "bench": "pack", "samples": .integer(command.sampleCount),
        "sequence_length": .integer(command.sequenceLength), "packs": .integer(packCount),
        "fill": .number(fill), "seconds": .number(best), "samples_per_second": .number(rate),
      ])
    }
    Output.write(rows: [
      ("samples", "\(command.sampleCount), into \(packCount) packs"),
      ("filled", NumberFormat.percent(fill)),
      ("time", "\(String(format: "%.2f", best)) s, \(NumberFormat.si(rate)) samples/s"),
    ])
  }
}

/// Reproducible numbers; splitmix64.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  /// Box and Muller's transform.
  mutating func normal() -> Double {
    let (first, second) = (
      Double.random(in: Double.leastNonzeroMagnitude..<1, using: &self),
      Double.random(in: 0..<1, using: &self)
    )
    return (-2 * log(first)).squareRoot() * cos(2 * .pi * second)
  }
}
