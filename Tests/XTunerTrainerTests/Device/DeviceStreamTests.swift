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
  /// What runs on streams beside the one that computes is ordered by events.
  ///
  /// The test device does copies of other streams as late as is allowed, and compares all uses of
  /// memory: without an event between two streams numbers are old, or the use is a hazard.
  @Suite(.serialized) struct StreamTests {
    static let steps = [
      LayoutCase(model: "qwen3_moe", recompute: .full, swaps: true),
      LayoutCase(model: "qwen3_moe", microBatches: 2, interleave: 2, recompute: .full, swaps: true),
      LayoutCase(model: "qwen3_moe", ranks: 2, expert: 2, recompute: .full, swaps: true),
      LayoutCase(
        model: "qwen3_moe", ranks: 2, expert: 2, microBatches: 4, interleave: 2,
        recompute: .selective, hasRouterLoss: true),
      LayoutCase(model: "qwen3_moe", ranks: 2, sequence: 2, recompute: .half),
      LayoutCase(model: "qwen3_moe", ranks: 2, reshard: .never, prefetch: 2),
    ]

    @Test(arguments: steps)
    func stepsEqualTheCPUs(_ testCase: LayoutCase) throws {
      func curves(_ kind: Device.Kind) throws -> [Curve] {
        try runMesh(
          testCase.layout,
          device: { kind == .cpu ? .cpu : Device(kind: kind, index: Int8($0)) },
          { try InvarianceRun.curve(testCase, mesh: $0, stepCount: 3) })
      }
      let expected = try curves(.cpu)
      _ = test_device_take_hazards()
      #expect(try curves(.privateUse) == expected)
      #expect(String(cString: test_device_take_hazards()) == "")
    }

    @Test(arguments: [[7, 13], [1], [0, 5], [4096, 3]])
    func swappedTensorsComeBack(shape: [Int]) {
      _ = test_device_take_hazards()
      let swap = HostSwap(device: DeviceTests.device)
      let count = shape.reduce(1, *)
      for round in 0..<3 {
        let values = (0..<count).map { Float($0 * 3 + round) }
        // Nothing else holds the tensor, and its memory is taken again by the next ones.
        let swapped = swap.out(Tensor(values, shape: shape, device: DeviceTests.device))
        if round > 0 { swapped.waitUntilOut() }
        let others = (0..<3).map { _ in
          Tensor.zeros(shape, dtype: .float32, device: DeviceTests.device)
        }
        swap.back(swapped)
        #expect(swapped.wait().floats() == values)
        #expect(others.allSatisfy { $0.floats().allSatisfy { $0 == 0 } })
      }
      #expect(String(cString: test_device_take_hazards()) == "")
      #expect(swap.hostByteCount == max((count * 4 + 4095) / 4096 * 4096, 4096))
    }

    /// Without any one of its waits a swap is wrong, and is seen to be.
    @Test func everyWaitOfASwapIsNeeded() {
      let device = DeviceTests.device
      for skipped in -1..<4 {
        let swap = HostSwap(device: device)
        let values = (0..<31).map { Float($0 + skipped) }
        _ = test_device_take_hazards()
        test_device_skip_wait(Int64(skipped))
        var swapped: SwappedTensor? = swap.out(
          Tensor(values, device: device).adding(scalar: 1))
        swapped?.waitUntilOut()
        swapped.map { swap.back($0) }
        let numbers = swapped?.wait().adding(scalar: 1).floats()
        #expect(test_device_wait_count() == 4)
        test_device_skip_wait(-1)
        let hazards = String(cString: test_device_take_hazards())
        #expect(hazards.isEmpty == (skipped < 0), "wait \(skipped): \(hazards)")
        if skipped < 0 { #expect(numbers == values.map { $0 + 2 }) }
        // What it was freed with is ordered again.
        device.synchronize()
        swapped = nil
        _ = test_device_take_hazards()
      }
    }

    /// The same of an exchange: what it reads is made before, and read after.
    @Test func everyWaitOfAnExchangeIsNeeded() throws {
      let device = DeviceTests.device
      for skipped in -1..<2 {
        let queue = ExchangeQueue(.single(name: "alone"), device: device)
        let target = Tensor.zeros([17], dtype: .float32, device: device)
        _ = test_device_take_hazards()
        test_device_skip_wait(Int64(skipped))
        let rows = Tensor((0..<17).map(Float.init), device: device).adding(scalar: 1)
        let sum = try queue.submit("test") {
          target.copy(from: rows, nonBlocking: true)
          return [target]
        }.wait()[0].adding(scalar: 1)
        #expect(test_device_wait_count() == 2)
        test_device_skip_wait(-1)
        let hazards = String(cString: test_device_take_hazards())
        #expect(hazards.isEmpty == (skipped < 0), "wait \(skipped): \(hazards)")
        if skipped != 0 {
          // The copy had not been done when it was read.
          #expect(sum.floats() == (0..<17).map { skipped == 1 ? 1 : Float($0 + 2) })
        }
        device.synchronize()
        _ = test_device_take_hazards()
      }
    }

    /// The test device does show what events are for.
    @Test func aCopyWithoutAnEventIsAHazard() {
      let device = DeviceTests.device
      let stream = DeviceStream(on: device)
      _ = test_device_take_hazards()
      let source = Tensor([Float(1), 2, 3], device: device)
      let target = Tensor.zeros([3], dtype: .float32, device: device)
      // The copy does not wait for its source ...
      stream.withCurrent { target.copy(from: source, nonBlocking: true) }
      #expect(
        String(cString: test_device_take_hazards()).contains(
          "copy of [3] float on the device of stream"))
      // ... nor the reader for the copy: it gets old numbers.
      let early = target.adding(target)
      #expect(
        String(cString: test_device_take_hazards()).contains(
          "reads what copy of [3] float on the device of stream"))
      DeviceStream.current(on: device).wait(for: DeviceEvent(after: stream))
      #expect(early.floats() == [0, 0, 0])
      #expect(target.floats() == [1, 2, 3])
      #expect(String(cString: test_device_take_hazards()) == "")
    }

    @Test func memoryThatAnotherStreamReadsIsNotFreed() {
      let device = DeviceTests.device
      let stream = DeviceStream(on: device)
      let target = Tensor.zeros([5], dtype: .float32, device: device)
      for keeps in [false, true] {
        stream.wait(for: DeviceEvent(after: .current(on: device)))
        _ = test_device_take_hazards()
        do {
          let source = Tensor([Float(1), 2, 3, 4, 5], device: device)
          stream.wait(for: DeviceEvent(after: .current(on: device)))
          stream.withCurrent { target.copy(from: source, nonBlocking: true) }
          if keeps { source.keepMemory(for: stream) }
        }
        let hazards = String(cString: test_device_take_hazards())
        #expect(hazards.contains("is freed that copy of [5] float") == !keeps, "\(hazards)")
        DeviceStream.current(on: device).wait(for: DeviceEvent(after: stream))
      }
    }
  }
}
