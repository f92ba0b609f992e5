import Foundation
import Testing
import XTunerEngine
import XTunerTrainer

extension DistributedProcessTests {
  /// What tensors take in the real program, on 1 to 4 ranks.
  @Suite struct DistributedMemoryTests {
    /// Share of the measured bytes that a prediction may be off.
    private static let tolerance = 0.1

    @Test(arguments: MemoryCase.all)
    func thePredictedPeakIsTheMeasuredOne(_ memoryCase: MemoryCase) throws {
      try EngineRun.with { run in
        try run.writeMemoryInputs()
        try run.train(
          memory: memoryCase.model, ranks: memoryCase.ranks, run: "a", memoryCase.overrides)
        let measured = try #require(run.metrics("tensor_peak_bytes", run: "a").max())
        let estimate = try run.estimate(
          memory: memoryCase.model, ranks: memoryCase.ranks, memoryCase.overrides)
        let error = Double(estimate.peak.total) / Double(measured) - 1
        #expect(
          abs(error) <= Self.tolerance,
          """
          predicted \(estimate.peak.total), measured \(measured) bytes: \
          \(estimate.peak) at \(estimate.moment)
          """)
      }
    }

    /// Each policy takes less than the one before it, by as much as was predicted.
    ///
    /// A peak of a mixture follows how many rows come to a rank's experts, which differs in the last digits
    /// of a processor's products: 1 % of the peak, half of what the smallest saving is, is left to that.
    @Test func swappingAndRecomputingSaveWhatTheEstimateSays() throws {
      try EngineRun.with { run in
        try run.writeMemoryInputs()
        let policies: [MemoryCase.Policy] = [.none, .selective, .full, .swap, .swapAll]
        let peaks = try policies.enumerated().map { index, policy in
          let overrides =
            policy.overrides + ["model.architecture.num_hidden_layers=11", "training.steps=2"]
          let name = "policy-\(index)"
          try run.train(memory: "moe", ranks: 2, run: name, overrides)
          return (
            measured: try #require(run.metrics("tensor_peak_bytes", run: name).max()),
            predicted: try run.estimate(memory: "moe", ranks: 2, overrides).peak.total
          )
        }
        for (index, (before, after)) in zip(peaks, peaks.dropFirst()).enumerated() {
          let measured = before.measured - after.measured
          let predicted = before.predicted - after.predicted
          #expect(measured > 0, "\(policies[index + 1]) saves nothing: \(peaks)")
          #expect(
            abs(Double(predicted - measured))
              <= Self.tolerance * Double(measured) + 0.01 * Double(before.measured),
            "\(policies[index + 1]) saves \(measured), predicted \(predicted): \(peaks)")
        }
      }
    }

    @Test(arguments: [1, 2])
    func twoHundredStepsDoNotGrowByAByte(ranks: Int) throws {
      try EngineRun.with { run in
        try run.train(
          ranks: ranks, run: "a",
          [
            "training.steps=200", "data.packing=split", "checkpoint.every_steps=null",
            "training.packs_per_step=2", "data.shuffle=false",
          ])
        let live = run.metrics("tensor_live_bytes", run: "a")
        let peaks = run.metrics("tensor_peak_bytes", run: "a")
        try #require(live.count == 200)
        guard ranks > 1 else {
          #expect(Set(live[1...]).count == 1, "\(live)")
          // What the samples of a pack take differs from step to step, by the same in every epoch.
          #expect(peaks[1..<100].max() == peaks[100...].max())
          return
        }
        // A collective's thread lets go of its tensors a moment after the result was read, so some
        // steps are seen with them: what is there without them must be the same everywhere.
        let least = stride(from: 1, to: 200, by: 20).map { start in
          live[start..<min(start + 20, 200)].min()
        }
        #expect(Set(least).count == 1, "\(live)")
      }
    }

    /// A rank's weights and moments, and one bucket of 2^22 elements with what `HFWeights.load` and
    /// its check for finite numbers make of it; of a file with tensors of 20 million elements.
    @Test func loadingTakesAShardAndABucket() throws {
      try EngineRun.with { run in
        try run.writeMemoryInputs()
        let steps = ["training.steps=1"]
        let written = ["export.at_end=true", "model.dtype=bf16"]
        let size = [
          "model.architecture.hidden_size=512", "model.architecture.vocab_size=40009",
          "model.architecture.num_hidden_layers=1",
        ]
        try run.train(memory: "moe", ranks: 1, run: "a", size + steps + written)
        let path = "\(run.folder)/a/export"
        let load = steps + ["model.architecture=null", "model.path=\(path)"]
        try run.train(memory: "moe", ranks: 4, run: "loaded", load)
        let resting = try run.estimate(memory: "moe", ranks: 4, load).resting
        let states = resting.weights + resting.moments
        // float32: the bucket, widened from bfloat16, and its absolute values; three masks of a byte.
        let bucket = 4_194_304 * (4 + 4 + 3)
        for rank in 0..<4 {
          let loaded = try run.fields(ofEvent: "weights ready", rank: rank, run: "loaded")
          let live = try #require(loaded["tensor_live.bytes"])
          let peak = try #require(loaded["tensor_peak.bytes"])
          // What the ranks tell each other and the weights' own buffers are below 64 kB.
          #expect((states...states + 65_536).contains(live), "rank \(rank): \(live), \(states)")
          #expect(peak - live <= bucket, "rank \(rank): \(peak) above \(live)")
        }
      }
    }
  }
}
