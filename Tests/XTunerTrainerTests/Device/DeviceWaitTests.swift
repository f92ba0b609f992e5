import Foundation
import TestDevice
import Testing
import Torch
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

extension DeviceTests {
  /// Inside a step of one rank nothing makes the host wait for the device: losses, norms and counts of
  /// rows are read when all of the step has been issued.
  ///
  /// Copies that the test device's operators make to run on the CPU are not the engine's, and do not
  /// count; operators that wait on CUDA do.
  @Suite(.serialized) struct WaitTests {
    static let steps = [
      LayoutCase(model: "qwen3_moe"),
      LayoutCase(model: "qwen3_moe", microBatches: 3, hasRouterLoss: true),
      LayoutCase(model: "qwen3_moe", microBatches: 3, hasRouterLoss: true, countsStep: true),
      LayoutCase(model: "qwen3_moe", microBatches: 2, interleave: 2, recompute: .selective),
      LayoutCase(model: "qwen3_moe", recompute: .full, swaps: true, hasRouterLoss: true),
      LayoutCase(model: "qwen3_tied", microBatches: 4, interleave: 2, recompute: .half),
    ]

    @Test(arguments: steps, [DType.float32, .bfloat16])
    func aStepOfOneRankDoesNotWait(_ testCase: LayoutCase, dtype: DType) throws {
      let expected = try InvarianceRun.curve(
        testCase, mesh: ProcessMesh(), stepCount: 3, dtype: dtype)
      let curve = try noted {
        try InvarianceRun.curve(
          testCase, mesh: ProcessMesh(device: DeviceTests.device), stepCount: 3, dtype: dtype,
          forbidsWaits: true)
      }
      #expect(curve.waits == "")
      #expect(curve.value == expected)
    }

    /// With several expert ranks the host has to know how many rows come: the counter sees it.
    @Test func theWaitsOfAnExpertExchangeAreSeen() throws {
      let layout = LayoutCase(model: "qwen3_moe", ranks: 2, expert: 2)
      let run = try noted {
        try runMesh(layout.layout, device: { Device(kind: .privateUse, index: Int8($0)) }) {
          try InvarianceRun.curve(layout, mesh: $0, stepCount: 1, forbidsWaits: true)
        }
      }
      #expect(run.waits.contains("copy of [8] long int from the device"), "\(run.waits)")
    }

    /// Every way in which the engine could ask is noted by its name.
    @Test func eachKindOfWaitHasAName() {
      let device = DeviceTests.device
      let tensor = Tensor([Float(1), 0, 2], device: device)
      let kinds: [(String, () -> Void)] = [
        ("aten::_local_scalar_dense", { _ = tensor.sum().item() }),
        ("copy of [3] float from the device", { _ = tensor.floats() }),
        ("copy of [3] float to the device", { _ = Tensor([Float(1), 2, 3]).to(device) }),
        ("synchronizeDevice", { device.synchronize() }),
      ]
      for (name, wait) in kinds {
        #expect(noted { device.forbiddingWaits(wait) }.waits == "\(name) x1\n")
      }
      let quiet = noted {
        device.forbiddingWaits {
          _ = tensor.adding(tensor).sum()
          _ = Tensor([Float(1), 2, 3], device: device)
          _ = Tensor([Float(1), 2, 3]).sent(to: device)
        }
      }
      #expect(quiet.waits == "")
      // Outside of such a part of the program waiting is allowed.
      #expect(noted { _ = tensor.floats() }.waits == "")
    }

    @Test func aForbiddenWaitEndsTheProcess() async {
      let result = await #expect(
        processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
      ) {
        let device = Device(kind: .privateUse, index: 0)
        let tensor = Tensor([Float(1)], device: device)
        device.forbiddingWaits { _ = tensor.item() }
      }
      let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(
        message.contains(
          "item: aten::_local_scalar_dense makes the host wait for the test device, which is forbidden"
        ), "\(message)")
    }

    @Test func aCPUCannotForbidWaits() {
      #expect(!Device.cpu.canForbidWaits)
      #expect(DeviceTests.device.canForbidWaits)
    }

    private func noted<Value>(
      _ body: () throws -> Value
    ) rethrows -> (value: Value, waits: String) {
      _ = test_device_take_waits()
      test_device_note_waits(true)
      defer { test_device_note_waits(false) }
      let value = try body()
      return (value, String(cString: test_device_take_waits()))
    }
  }
}
