import Foundation
import Testing
import Torch
import XTunerModels
import XTunerNN

@testable import XTunerLaunch
@testable import XTunerParallel
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerEngine
@testable import XTunerTrainer

/// `optimizer.state: bf16`.
@Suite struct LowPrecisionStateTests {
  private let bfloat16 = ["model.dtype=bf16", "optimizer.state=bf16", "export.at_end=false"]

  @Test func trainsLikeFloat32AndResumesBitForBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let outcome = try tiny.train(run: "whole", bfloat16)
    let losses = try MetricsHistory(path: outcome.layout.metrics).training.map(\.loss)
    let plain = try tiny.train(run: "plain", ["model.dtype=bf16", "export.at_end=false"])
    let expected = try MetricsHistory(path: plain.layout.metrics).training.map(\.loss)
    #expect(losses != expected)
    for (own, expected) in zip(losses, expected) { #expect(abs(own - expected) < 5e-3 * expected) }
    try tiny.train(
      run: "stopped", bfloat16 + ["training.steps=8", "checkpoint.at_end=false"])
    try FileManager.default.removeItem(
      atPath: "\(tiny.folder)/stopped/checkpoints/step-00000006")
    #expect(try tiny.train(run: "stopped", bfloat16).firstStep == 4)
    #expect(try tiny.curve(run: "stopped") == tiny.curve(run: "whole"))
  }

  static let layouts = [
    ParallelLayout(worldSize: 2), ParallelLayout(worldSize: 3),
    ParallelLayout(worldSize: 2, expert: 2), ParallelLayout(worldSize: 2, expertTensor: 2),
    ParallelLayout(worldSize: 4, replicate: 2, expert: 2),
    ParallelLayout(worldSize: 4, expert: 2, expertTensor: 2),
  ]

  /// With the same gradients every element is rounded the same way, wherever it lies.
  @Test(arguments: layouts)
  func roundingDoesNotDependOnTheLayout(_ layout: ParallelLayout) throws {
    let expected = try updated(ProcessMesh())
    for found in try runMesh(layout, { try updated($0) }) {
      for (name, values) in expected { #expect(found[name] == values, "\(name)") }
    }
    // Experts that have the same weights and gradients get chances of their own.
    let (name, values) = try #require(expected.first { $0.key.hasSuffix("gateUp.weight") })
    let size = values.count / 8
    #expect(values[..<size] != values[size..<2 * size], "\(name)")
  }

  /// The weights of all parameters after two steps with gradients that are functions of the element.
  private func updated(_ mesh: ProcessMesh) throws -> [String: [Float]] {
    let prepared = PreparedModel(
      try ModelConfiguration(path: ReferenceModel(name: "qwen3_moe").folder),
      computeDType: .bfloat16, isTrained: true, keepsMaster: false, mesh: mesh)
    let units = prepared.units.all
    /// All experts have the same numbers.
    func numbers(_ parameter: Parameter, seed: UInt64) -> Tensor {
      let partCount = parameter.role == .expert ? parameter.shape[0] : 1
      let part = Tensor.randomNormal(
        [parameter.elementCount / partCount], generator: Generator(seed: seed), dtype: .float32)
      return Tensor.concatenated(Array(repeating: part, count: partCount))
    }
    func write(_ seed: UInt64, _ target: (FlatUnit) -> Tensor) {
      for unit in units {
        for slot in unit.slots {
          unit.write(
            numbers(slot.parameter, seed: seed), at: 0, of: slot.parameter, to: target(unit))
        }
      }
    }
    write(1) { $0.weights }
    let optimizer = AdamW(units, options: AdamW.Options())
    for step in 2...3 as ClosedRange<UInt64> {
      write(step) { unit in
        // As if they had been added up and reduced.
        unit.hasGradient = unit.hasGradient.map { _ in true }
        unit.hasGradientShard = true
        return unit.finishedGradient()
      }
      optimizer.step(learningRate: 1e-2, gradientScale: 1)
    }
    var weights: [String: [Float]] = [:]
    for parameter in prepared.model.parameters {
      weights[parameter.name] = try prepared.units.assembled(
        parameter, elements: 0..<parameter.elementCount, dtype: .float32
      ).floats()
    }
    return weights
  }

  @Test func swappedMomentsChangeNoBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "plain", bfloat16)
    try tiny.train(run: "swapped", bfloat16 + ["training.swap_optimizer=true"])
    #expect(try tiny.curve(run: "plain") == tiny.curve(run: "swapped"))
  }

  @Test func whatItCannotDoIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    var error = #expect(throws: ConfigurationError.self) {
      try tiny.configuration(run: "a", ["model.dtype=f32", "optimizer.state=bf16"])
    }
    #expect(error?.description.contains("optimizer.state: bf16 needs model.dtype bf16") == true)
    error = #expect(throws: ConfigurationError.self) {
      try tiny.configuration(
        run: "a", ["model.dtype=bf16", "optimizer.state=bf16", "optimizer.name=muon"])
    }
    #expect(error?.description.contains("is for optimizer.name adamw, which is muon") == true)
  }
}
