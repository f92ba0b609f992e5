import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

/// `model.fp8` through whole runs.
@Suite struct Float8RunTests {
  /// Sizes in multiples of 16.
  private static let shapes = [
    "model.architecture.hidden_size=32", "model.architecture.num_attention_heads=4",
    "evaluation.every_steps=null", "training.steps=6", "checkpoint.every_steps=3",
  ]
  private static let emulated = shapes + ["model.fp8=emulated"]

  @Test func everyLossDiffersFromBfloat16AndTheLogSaysSo() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "bf16", Self.shapes)
    try tiny.train(run: "fp8", Self.emulated)
    try tiny.train(run: "experts", Self.emulated + ["model.fp8_modules=[experts]"])
    let curves = try ["bf16", "fp8", "experts"].map { try tiny.curve(run: $0) }
    for step in 0..<6 { #expect(Set(curves.map { $0[step] }).count == 3, "step \(step)") }
    let log = try String(contentsOfFile: "\(tiny.folder)/fp8/log.txt", encoding: .utf8)
    #expect(log.contains("memory estimate"))
    let configuration = try RunConfiguration.load(file: "\(tiny.folder)/experts/config.yaml")
    #expect(configuration.float8Modules == [.experts])
  }

  @Test func resumedRunEqualsUninterruptedRunBitForBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "whole", Self.emulated)
    try tiny.train(run: "killed", Self.emulated + ["checkpoint.at_end=false"])
    #expect(try tiny.train(run: "killed", Self.emulated).firstStep == 4)
    #expect(try tiny.curve(run: "killed") == tiny.curve(run: "whole"))
  }

  @Test func recomputedLayersGiveTheSameBits() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "kept", Self.emulated)
    try tiny.train(run: "recomputed", Self.emulated + ["training.recompute=full"])
    #expect(try tiny.curve(run: "recomputed") == tiny.curve(run: "kept"))
  }

  /// A run's checkpoint as float8 blocks, and a run that begins from them.
  @Test func exportedBlocksCanBeTrainedFurther() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "first", Self.emulated)
    let folder = "\(tiny.folder)/blocks"
    try RunExport(path: "\(tiny.folder)/first").write(
      to: folder, dtype: .float8e4m3, overwrites: false)
    let types = try HFCheckpointFolder(path: folder).entries.map(\.dataType)
    #expect(types.contains(.float8E4M3) && types.contains(.bfloat16) && types.contains(.float32))
    let rest = Self.emulated.filter { !$0.contains("architecture") }
    try tiny.train(
      run: "second", rest + ["model.path=\(folder)", "model.architecture=null"])
    let losses = try ["first", "second"].map {
      try MetricsHistory(path: "\(tiny.folder)/\($0)/metrics.jsonl").training.map(\.loss)
    }
    // It goes on near where the first one ended, and not at the start.
    #expect(losses[1][0] < (losses[0][0] + losses[0][5]) / 2)
  }
}
