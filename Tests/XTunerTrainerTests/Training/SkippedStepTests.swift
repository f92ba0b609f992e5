import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerData
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerEngine
@testable import XTunerTrainer

/// Steps that change nothing: without labels, or with a gradient that is of no use.
@Suite struct SkippedStepTests {
  /// Conversations of long questions and short answers, cut into packs: many have no label.
  private func writeConversations(_ tiny: TinyRun) throws {
    let lines = (0..<13).map { index in
      let question = "Is \(index) a number? " + String(repeating: "Think again. ", count: 41)
      return #"{"messages": [{"role": "user", "content": "\#(question)"}, "#
        + #"{"role": "assistant", "content": "\#(String(repeating: "Yes, it is. ", count: 23))"}]}"#
    }
    try tiny.write(lines.joined(separator: "\n"), to: "chats.jsonl")
  }

  private func options(_ tiny: TinyRun, share: Double) -> [String] {
    [
      "data.train=\(tiny.folder)/chats.jsonl", "data.packing=split", "data.overlong=split",
      "data.template=chatml", "data.validation_split=null", "evaluation.every_steps=null",
      "data.max_masked_share=\(share)", "training.packs_per_step=2",
      "training.micro_batch_packs=1", "training.steps=23", "checkpoint.keep=null",
      "optimizer.weight_decay=0.1",
    ]
  }

  @Test(arguments: [1, 2])
  func stepsWithoutLabelsAreCountedAndPassedOver(ranks: Int) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try writeConversations(tiny)
    let options = options(tiny, share: 1)
    let outcome = try tiny.train(ranks: ranks, run: "a", options)
    #expect(outcome.step == 23)
    let steps = try tiny.steps(run: "a")
    #expect(steps.map(\.step) == Array(1...23))
    let masked = steps.filter { $0.loss == nil }
    #expect(!masked.isEmpty && masked.count < 23)
    #expect(masked.allSatisfy { $0.isSkipped && $0.tokens > 0 })
    #expect(steps.allSatisfy { ($0.loss == nil) == $0.isSkipped })
    let log = try tiny.log(run: "a")
    #expect(
      log.components(separatedBy: "step without labels passed over").count - 1 == masked.count)
    #expect(log.contains("so_far=\(masked.count)\n"))
    let newest = try RunCheckpoint(path: tiny.checkpoint(run: "a", step: 23))
    let state = try newest.state(as: TrainingState.self)
    #expect(state.unlabelledCount == masked.count && state.consecutiveSkipCount == 0)
    #expect(state.updateCount == 23 - masked.count)

    // The count, the data and all numbers go on from a checkpoint.
    let start = ResumePolicy.checkpoint(tiny.checkpoint(run: "a", step: 12))
    #expect(try tiny.train(ranks: ranks, run: "b", options, resume: start).firstStep == 13)
    #expect(try tiny.curve(run: "b") == Array(tiny.curve(run: "a").suffix(11)))
    let resumed = try RunCheckpoint(path: tiny.checkpoint(run: "b", step: 23))
    #expect(try resumed.state(as: TrainingState.self).unlabelledCount == masked.count)
  }

  @Test func moreThanTheAllowedShareIsRefusedBeforeTrainingNamingTheFiles() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try writeConversations(tiny)
    let error = #expect(throws: LoaderError.self) {
      try tiny.train(run: "a", options(tiny, share: 0.25))
    }
    #expect(error?.code == .mostlyMasked)
    #expect(error?.message.contains("25.0 % allowed by data.max_masked_share") == true)
    #expect(error?.message.contains("\(tiny.folder)/chats.jsonl: ") == true)
    #expect(tiny.names(run: "a", "checkpoints") == [])
  }

  /// Updates whose norm is above a threshold stand for those that are not finite.
  @Test func checkpointsOfSkippedUpdatesDisplaceNoneAndTheCountGoesOn() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let every = ["checkpoint.every_steps=1", "export.at_end=false", "evaluation.every_steps=null"]
    try tiny.train(run: "a", every + ["training.steps=4"])
    let healthy = ["step-00000003", "step-00000004"]
    #expect(tiny.names(run: "a", "checkpoints") == healthy)

    let skipping = every + ["training.steps=40", "training.skip_threshold=1.0e-9"]
    for restart in 0..<3 {
      let error = #expect(throws: TrainingError.self) { try tiny.train(run: "a", skipping) }
      #expect(error?.exitCode == .nonFinite)
      // Ten in a row, however often the run was started.
      #expect(error?.description.hasPrefix("step 14: 10 updates in a row were skipped") == true)
      let names = tiny.names(run: "a", "checkpoints")
      #expect(names.prefix(2) == healthy[...], "restart \(restart): \(names)")
      #expect(names.last == "step-00000013")
    }
    // The next update that is applied makes room again.
    try tiny.train(run: "a", every + ["training.steps=15"])
    #expect(tiny.names(run: "a", "checkpoints") == ["step-00000014", "step-00000015"])
  }

  @Test func theUnitNearestTheOriginOfABackwardFaultIsNamed() throws {
    let prepared = try ReferenceModel(name: "qwen3_untied").prepared()
    let units = prepared.units.all
    for (index, unit) in units.enumerated() {
      for slot in unit.slots {
        // Backward goes from the last block to the first, and so does what is not finite.
        let value = index <= 1 ? Double.nan : 1
        unit.accumulate(
          Tensor.full(slot.parameter.localShape, value: .real(value), dtype: .float32),
          for: slot.parameter)
      }
    }
    let norm = try GradientNorm(prepared.units)
    #expect(norm.value.isNaN)
    #expect(norm.nonFiniteUnit == units[1].name && units[1].name == "layers.0")
  }

  @Test(arguments: [
    ("layers.1.experts.down.weight", "stage experts of layers.1"),
    ("layers.0.attention.query.weight", "stage project of layers.0"),
    ("embedding.weight", "embedding"), ("finalNorm.weight", "head"),
  ])
  func theStageOfAForwardFaultIsNamed(parameter: String, place: String) throws {
    let prepared = try ReferenceModel(name: "qwen3_moe").prepared()
    let engine = TrainingEngine(model: prepared.model, units: prepared.units)
    var batch = MicroBatch()
    let tokens = (0..<29).map { Int32($0) }
    batch.append(tokens: tokens, labels: tokens, reduction: .token)
    #expect(try engine.firstNonFiniteStage([batch]) == nil)
    let names = prepared.model.parameters.map(\.name)
    let spoilt = try #require(prepared.model.parameters.first { $0.name == parameter }, "\(names)")
    withoutGradients { prepared.units.writableView(of: spoilt).fill(.real(.nan)) }
    prepared.units.publish()
    #expect(try engine.firstNonFiniteStage([batch]) == place)
  }

  @Test func aRunThatDivergesNamesWhereTheFaultBegan() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: TrainingError.self) {
      try tiny.train(
        run: "a",
        [
          "optimizer.learning_rate=1000", "optimizer.weight_decay=1000000",
          "training.max_gradient_norm=null",
          "schedule.warmup_steps=0", "training.steps=40",
        ])
    }
    #expect(error?.exitCode == .nonFinite)
    // In the forward pass or in the gradient: both messages name a place.
    #expect(error?.description.contains(" is not finite from ") == true, "\(error!)")
  }
}
