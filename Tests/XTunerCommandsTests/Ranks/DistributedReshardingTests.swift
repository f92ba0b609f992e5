import Foundation
import Testing
import XTunerCheckpoint
import XTunerTrainer

extension DistributedProcessTests {
  /// Checkpoints that are read by another number of ranks, or another layout, than wrote them.
  @Suite struct DistributedReshardingTests {
    /// Relative; the order of sums over ranks differs, in f32.
    private static let tolerance = 1e-6

    @Test func nextLossesDoNotDependOnTheRanksThatReadACheckpoint() throws {
      try EngineRun.with { run in
        let experts = ["parallel.expert=2"]
        try run.train(ranks: 4, run: "whole", experts)
        let whole = run.steps(run: "whole")
        #expect(whole.map(\.number) == Array(1...9))
        for checkpoint in try run.store(run: "whole").scan().complete { try checkpoint.verify() }
        let start = run.store(run: "whole").path(step: 6)
        let layouts = [
          (name: "same", ranks: 4, options: experts), ("half", 2, []), ("alone", 1, []),
        ]
        for (name, ranks, options) in layouts {
          try run.train(ranks: ranks, run: name, options, resume: start)
          let steps = run.steps(run: name)
          #expect(steps.map(\.number) == [7, 8, 9])
          for (step, expected) in zip(steps, whole.suffix(3)) {
            let difference = abs(step.loss - expected.loss) / abs(expected.loss)
            let limit = name == "same" ? 0 : Self.tolerance
            #expect(
              difference <= limit,
              "\(name), step \(step.number): \(step.loss), not \(expected.loss), off by \(difference)"
            )
          }
          let written = try run.store(run: name).scan()
          #expect(written.rejected.isEmpty)
          #expect(written.complete.map(\.step) == [9])
          for checkpoint in written.complete { try checkpoint.verify() }
        }
      }
    }

    /// What travels as float8 is made of the weights, which checkpoints have as ever; sums of bf16 and
    /// tiles along tokens differ by the ranks.
    @Test func float8RunsGoOnWithOtherRanks() throws {
      try EngineRun.with { run in
        let float8 = [
          "model.dtype=bf16", "model.fp8=emulated", "model.architecture.hidden_size=32",
        ]
        try run.train(ranks: 2, run: "whole", float8)
        let whole = run.steps(run: "whole")
        let start = run.store(run: "whole").path(step: 6)
        let layouts = [
          (name: "same", ranks: 2, options: []), ("four", 4, ["parallel.expert=2"]),
          ("alone", 1, []),
        ]
        for (name, ranks, options) in layouts {
          try run.train(ranks: ranks, run: name, float8 + options, resume: start)
          let steps = run.steps(run: name)
          #expect(steps.map(\.number) == [7, 8, 9])
          if name == "same" { #expect(steps == Array(whole.suffix(3))) }
          for (step, expected) in zip(steps, whole.suffix(3)) {
            #expect(abs(step.loss / expected.loss - 1) < 5e-3, "\(name): \(step), \(expected)")
          }
        }
        try run.export(start, to: "\(run.folder)/export-whole", dtype: "bf16")
        let options = float8 + ["training.steps=6", "export.at_end=true"]
        try run.train(ranks: 4, run: "read", options, resume: start)
        #expect(try weights("\(run.folder)/read/export") == weights("\(run.folder)/export-whole"))
      }
    }

    @Test func anExportDoesNotDependOnTheRanksThatReadACheckpoint() throws {
      try EngineRun.with { run in
        try run.train(ranks: 1, run: "alone", ["training.steps=3"])
        let start = run.store(run: "alone").path(step: 3)
        try run.export(start, to: "\(run.folder)/export-alone")
        let expected = try weights("\(run.folder)/export-alone")
        #expect(!expected.isEmpty)

        // No step is left to take: what was read is what is written.
        let options = [
          "training.steps=3", "export.at_end=true", "parallel.expert_tensor=2",
          "parallel.sequence=2",
        ]
        try run.train(ranks: 4, run: "four", options, resume: start)
        #expect(run.steps(run: "four") == [])
        #expect(try weights("\(run.folder)/four/export") == expected)
      }
    }

    /// The bytes of the safetensors files of a folder, by name.
    private func weights(_ folder: String) throws -> [String: Data] {
      let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        .filter { $0.hasSuffix(".safetensors") }
      return try Dictionary(
        uniqueKeysWithValues: names.map { name in
          (name, try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")))
        })
    }
  }
}
