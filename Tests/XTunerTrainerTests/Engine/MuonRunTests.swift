import Foundation
import Testing
import Torch
import XTunerCheckpoint

@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerEngine
@testable import XTunerTrainer

@Suite struct MuonRunTests {
  private let muon = "optimizer.name=muon"

  @Test func trainsAndResumesBitForBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let outcome = try tiny.train(run: "whole", [muon, "export.at_end=false"])
    let history = try MetricsHistory(path: outcome.layout.metrics)
    #expect(history.training[7].loss < history.training[0].loss)
    try tiny.train(
      run: "stopped", [muon, "training.steps=8", "checkpoint.at_end=false", "export.at_end=false"])
    try FileManager.default.removeItem(
      atPath: "\(tiny.folder)/stopped/checkpoints/step-00000006")
    #expect(try tiny.train(run: "stopped", [muon, "export.at_end=false"]).firstStep == 4)
    #expect(try tiny.curve(run: "stopped") == tiny.curve(run: "whole"))
  }

  @Test func swappedMomentsChangeNoBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "plain", [muon, "export.at_end=false"])
    try tiny.train(run: "swapped", [muon, "training.swap_optimizer=true", "export.at_end=false"])
    #expect(try tiny.curve(run: "plain") == tiny.curve(run: "swapped"))
  }

  @Test(arguments: [["adamw", "muon"], ["muon", "adamw"]])
  func momentsOfAnotherUpdateRuleAreRefused(names: [String]) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let options = names.map { ["optimizer.name=\($0)", "export.at_end=false"] }
    try tiny.train(run: "a", options[0] + ["training.steps=3"])
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(run: "a", options[1] + ["training.steps=5"])
    }
    let checkpoint = tiny.checkpoint(run: "a", step: 3)
    #expect(
      error?.description.contains(
        "optimizer.name: is \(names[1]), but \(checkpoint) holds the moments of \(names[0])")
        == true)
    // Checkpoints that do not name the rule are recognised.
    #expect(UnitFiles.optimizer(ofMomentsIn: try RunCheckpoint(path: checkpoint)) == names[0])
  }

  @Test func anotherUpdateRuleBeginsWithMomentsOfZeroWhereNoneWereSaved() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let options = ["checkpoint.save_optimizer=false", "export.at_end=false"]
    try tiny.train(run: "a", options + ["training.steps=3"])
    let outcome = try tiny.train(run: "a", options + [muon, "training.steps=5"])
    #expect(outcome.firstStep == 4 && outcome.step == 5)
  }

  @Test func optionsOfMuonAreRefusedWithAdamW() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    for option in ["momentum=0.9", "nesterov=false", "newton_schulz_steps=3"] {
      let error = #expect(throws: ConfigurationError.self) {
        try tiny.configuration(run: "a", ["optimizer.\(option)"])
      }
      #expect(error?.description.contains("is for optimizer.name muon, which is adamw") == true)
      let options = try tiny.configuration(run: "a", [muon, "optimizer.\(option)"]).optimizer
      #expect(Muon.Options(options) != Muon.Options(OptimizerOptions()))
    }
  }

  @Test func cutExpertsAreRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.configuration(run: "a", [muon, "parallel.expert_tensor=2"])
    }
    #expect(error?.description.contains("optimizer.name: muon needs whole matrices") == true)
    #expect(error?.description.contains("parallel.expert_tensor (2)") == true)
  }
}
