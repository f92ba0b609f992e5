import Foundation
import TestDevice
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerLaunch
@testable import XTunerEngine
@testable import XTunerTrainer

/// Training on a device whose memory the CPU cannot read: nothing in the engine assumes where tensors
/// are.
///
/// The device is `Tests/TestDevice`: its operators run on the CPU with copies of their arguments, so
/// numbers are those of the CPU, bit for bit.
@Suite(.serialized) struct DeviceTests {
  static let device = Device(kind: .privateUse, index: 0)

  /// A whole run: steps, clipping, router losses, evaluation, checkpoints, export.
  @Test(arguments: [
    ["model.dtype=f32"],
    [
      "loss.balance_loss=0.02", "loss.balance_scope=step", "loss.router_z_loss=0.003",
      "training.max_gradient_norm=0.5",
    ],
    ["training.recompute=full", "training.swap_activations=true", "training.swap_optimizer=true"],
    ["training.recompute=selective", "training.kept_stages=[attend]", "parallel.interleave=2"],
    ["optimizer.name=muon", "model.dtype=f32"],
    ["optimizer.state=bf16", "model.dtype=bf16"],
  ])
  func aRunEqualsTheCPUs(_ overrides: [String]) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let expected = try tiny.train(run: "cpu", overrides)
    let calls = test_device_fallback_count()
    DeviceMemory.resetPeak(on: Self.device)
    let live = DeviceMemory.liveByteCount(on: Self.device)
    let outcome = try tiny.train(run: "npu", overrides + ["run.device=npu"])
    #expect(test_device_fallback_count() > calls + 1_000, "the run was not on the device")
    #expect(DeviceMemory.peakByteCount(on: Self.device) > live + 100_000)
    #expect(DeviceMemory.liveByteCount(on: Self.device) == live, "tensors of the run are left")

    let curve = try tiny.curve(run: "npu")
    #expect(curve.count == 8)
    #expect(try curve == tiny.curve(run: "cpu"))
    let (history, reference) = (
      try MetricsHistory(path: outcome.layout.metrics),
      try MetricsHistory(path: expected.layout.metrics)
    )
    #expect(history.evaluation.map(\.loss) == reference.evaluation.map(\.loss))
    #expect(history.evaluation.count == 2)
    try expectEqualWeights(outcome.layout.export, expected.layout.export)
  }

  @Test func emulatedFloat8IsRefusedOnNPUs() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(
        run: "a",
        [
          "model.dtype=bf16", "model.fp8=emulated", "model.fp8_modules=[attention]",
          "run.device=npu",
        ])
    }
    #expect(
      error?.description.contains("emulated runs on CPUs and GPUs, and run.device npu is npu here")
        == true)
  }

  /// A checkpoint does not say where it was written.
  @Test(arguments: ["npu", "cpu"])
  func aCheckpointContinuesOnAnotherDevice(first: String) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "whole")
    let request = StopRequest()
    try tiny.train(
      run: "moved", ["run.device=\(first)", "training.steps=8", "checkpoint.at_end=false"])
    try FileManager.default.removeItem(atPath: "\(tiny.folder)/moved/checkpoints/step-00000006")
    let second = first == "npu" ? "cpu" : "npu"
    let outcome = try tiny.train(run: "moved", ["run.device=\(second)"], stopRequest: request)
    #expect(outcome.step == 8)
    #expect(try tiny.curve(run: "moved") == tiny.curve(run: "whole"))
  }

  /// Each rank has a device of its own, and tensors travel through host memory.
  @Test(arguments: [
    LayoutCase(model: "qwen3_moe", ranks: 2, recompute: .selective, swaps: true),
    LayoutCase(model: "qwen3_moe", ranks: 2, expert: 2, hasRouterLoss: true),
    LayoutCase(model: "qwen3_moe", ranks: 2, sequence: 2),
    LayoutCase(model: "qwen3_moe", ranks: 2, replicate: 2, recompute: .full),
  ])
  func ranksEqualThoseOfTheCPU(_ testCase: LayoutCase) throws {
    func curves(_ kind: Device.Kind, _ wire: GradientWire) throws -> [Curve] {
      try runMesh(
        testCase.layout,
        device: { kind == .cpu ? .cpu : Device(kind: kind, index: Int8($0)) },
        { try InvarianceRun.curve(testCase, mesh: $0, stepCount: 3, wire: wire) })
    }
    for wire in [GradientWire.float32, .bfloat16] {
      #expect(try curves(.privateUse, wire) == curves(.cpu, wire), "\(wire)")
    }
  }

  /// Prompts, three tokens more each, growth of the cache and a sequence that ends.
  @Test func aCacheOnTheDeviceGivesTheLogitsOfTheCPU() throws {
    func logits(_ device: Device) throws -> [[Float]] {
      let model = try PreparedModel(
        path: ReferenceModel(name: "qwen3_moe").folder, computeDType: .float32,
        mesh: ProcessMesh(device: device)
      ).model
      #expect(model.device == device)
      let cache = KeyValueCache(promptLengths: [5, 3], capacity: 6, device: device)
      var tokens: [Int32] = [7, 9, 11, 13, 17, 19, 23, 29]
      return withoutGradients {
        (0..<4).map { pass in
          let samples = cache.pass == .prefill ? cache.lengths : cache.lengths.map { _ in 1 }
          let bounds = samples.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
          let contexts = model.makeContexts(
            ModelInput(bounds: bounds, positions: cache.positionsT, cache: cache))
          let hidden = model.hiddenStates(Tensor(tokens, device: device).to(.int64), contexts)
          if pass == 2 { cache.keepSequences([1]) }
          cache.advance()
          tokens = cache.lengths.map { Int32(30 + $0) }
          return model.head(hidden).floats()
        }
      }
    }
    // libtorch's own attention, which decoding uses, takes another path on a CPU.
    for (a, b) in zip(try logits(Self.device), try logits(.cpu)) {
      #expect(a.count == b.count)
      #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-4 })
    }
  }

  @Test func aDeviceThatCannotBeUsedIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(run: "a", ["run.device=cuda"])
    }
    #expect(error?.description.contains("run.device") == true)
    #expect(error?.description.contains("cuda cannot be used") == true)
    let configuration = try tiny.configuration(run: "a", ["run.device=npu"])
    #expect(try configuration.device(localRank: 1) == Device(kind: .privateUse, index: 1))
    let missing = #expect(throws: ConfigurationError.self) {
      try configuration.device(localRank: 2)
    }
    #expect(missing?.description.contains("start at most 2 processes a machine") == true)
  }

  @Test func autoTakesAnAccelerator() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let configuration = try tiny.configuration(run: "a", ["run.device=auto"])
    #expect(try configuration.device(localRank: 0) == Self.device)
  }

  @Test func ranksWithDifferentKindsAreRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let messages = try runRanks(2) { rank, store -> String in
      let configuration = try tiny.configuration(
        run: "a", ["run.device=\(rank == 0 ? "cpu" : "npu")"])
      do {
        try ConfigurationAgreement(rank: rank, count: 2, store: store, timeout: .seconds(20))
          .check(configuration)
        return "none"
      } catch {
        return "\(error)"
      }
    }
    for message in messages {
      #expect(message.contains("run.device is npu, on rank 0 it is cpu"), "\(message)")
      #expect(message.contains("the same kind of device"), "\(message)")
    }
  }

  @Test func memoryOfTheDeviceIsNotTheHosts() async {
    await #expect(processExitsWith: .failure) { test_device_read_from_host() }
    let tensor = Tensor([Float(1), 2], device: Self.device)
    #expect(tensor.device == Self.device)
    #expect(tensor.adding(tensor).device == Self.device)
    #expect(tensor.adding(tensor).floats() == [2, 4])
  }

  private func expectEqualWeights(_ path: String, _ expected: String) throws {
    let (a, b) = (try HFCheckpointFolder(path: path), try HFCheckpointFolder(path: expected))
    #expect(a.entries.map(\.name) == b.entries.map(\.name))
    for entry in a.entries {
      let same = try a.file(of: entry.name).tensor(entry.name).view(as: .int16).equal(
        b.file(of: entry.name).tensor(entry.name).view(as: .int16))
      #expect(same.allTrue().item() == 1, "\(entry.name)")
    }
  }
}
