import Foundation
import Testing

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
