import Foundation
import TestDevice
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerEngine
@testable import XTunerTrainer

extension DeviceTests {
  /// A run that is out of memory says who has it and which setting would help.
  @Suite(.serialized) struct MemoryTests {
    @Test func aDeviceThatIsTooSmallSaysWhatWouldHelp() async throws {
      let result = await #expect(
        processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
      ) {
        let tiny = try TinyRun()
        let device = Device(kind: .privateUse, index: 0)
        let overrides = ["run.device=npu", "model.dtype=f32", "evaluation.every_steps=100"]
        _ = try tiny.train(run: "whole", overrides)
        let peak = DeviceMemory.peakByteCount(on: device)
        let run = try TrainingRun(
          tiny.configuration(run: "less", overrides), resume: .never, stopRequest: StopRequest())
        test_device_set_memory_limit(Int64(peak * 9 / 10))
        tiny.remove()
        _ = try run.run()
      }
      let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for part in [
        " ran out of memory: the test device has ", "\ntensors on npu:0: ", "\n  weights: ",
        "\n  optimizer moments: ", "\n  activations, gradients, logits and what operators take: ",
        "\na step takes ", " by the estimate, at '", "\n  head: ",
        "\nwhat would help most, with the estimate for each:\n", " KiB less",
      ] {
        #expect(message.contains(part), "no '\(part)' in\n\(message)")
      }
    }

    /// libtorch's CPU allocator has no error of its own for this.
    @Test func aHostThatIsTooSmallSaysWhatWouldHelp() async throws {
      let result = await #expect(
        processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
      ) {
        let tiny = try TinyRun()
        DeviceMemory.startCounting()
        let run = try TrainingRun(
          tiny.configuration(run: "a"), resume: .never, stopRequest: StopRequest())
        tiny.remove()
        withExtendedLifetime(run) { _ = Tensor.empty([1 << 46], dtype: .float32) }
      }
      let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for part in [
        "empty.memory_format ran out of memory: ", "DefaultCPUAllocator", "\ntensors on the host: ",
        "\n  weights: ", "\n  optimizer moments: ", "\nwhat would help most",
      ] {
        #expect(message.contains(part), "no '\(part)' in\n\(message)")
      }
    }
  }
}

/// What is advised is what the estimate says.
@Suite struct MemoryAdviceTests {
  private let model = ModelConfiguration.qwen3MoE(
    vocabularySize: 4096, hiddenSize: 256, expertCount: 16, expertsPerToken: 4, expertSize: 192,
    layerCount: 6, headCount: 8, keyValueHeadCount: 2, headSize: 64)

  @Test func optionsAreSortedAndSmaller() {
    let setting = MemoryEstimate.Setting(model: model, tokenCount: 8192)
    let advice = MemoryAdvice(setting, packTokenCount: 8192)
    #expect(advice.estimate.peak == MemoryEstimate(setting).peak)
    #expect(advice.options.map(\.peak) == advice.options.map(\.peak).sorted())
    #expect(advice.options.allSatisfy { $0.peak < advice.estimate.peak.total })
    var recomputed = setting
    recomputed.options.recomputedLayerCount = 6
    #expect(
      advice.options.contains(
        .init(setting: "training.recompute: full", peak: MemoryEstimate(recomputed).peak.total)))
    #expect(advice.options.contains { $0.setting == "data.sequence_length: 4096" })
    #expect(advice.options.contains { $0.setting.hasPrefix("2 ranks instead of 1") })
  }

  @Test func whatIsSetAlreadyIsNotAdvised() {
    var setting = MemoryEstimate.Setting(model: model, tokenCount: 2048)
    setting.options.recomputedLayerCount = 6
    setting.options.swapsActivations = true
    setting.options.chunkSize = 128
    setting.swapsOptimizer = true
    setting.keepsMaster = false
    let settings = MemoryAdvice(setting, packTokenCount: 1024).options.map(\.setting)
    for part in ["recompute", "swap", "chunk_size", "optimizer.state", "sequence_length"] {
      #expect(!settings.contains { $0.contains(part) }, "\(part) in \(settings)")
    }
    #expect(settings.contains("training.micro_batch_packs: 1"))
  }
}
