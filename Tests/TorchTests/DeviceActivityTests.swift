import Foundation
import Testing

@testable import Torch

/// The tracer is one for the process, so nothing else may trace meanwhile.
@Suite(.serialized) struct DeviceActivityTests {
  @Test func timeBetweenOperationsIsIdle() {
    let x = Tensor.randomNormal([331, 331], generator: Generator(seed: 3), dtype: .float32)
    DeviceActivity.prepare(on: .cpu)
    _ = x.matrixProduct(x)
    let activity = DeviceActivity.record(on: .cpu) {
      _ = x.matrixProduct(x)
      Thread.sleep(forTimeInterval: 0.2)
      _ = x.matrixProduct(x)
      _ = x.matrixProduct(x)
    }
    #expect(activity.seconds >= 0.2)
    #expect(activity.busySeconds > 0)
    #expect(activity.busySeconds <= activity.seconds - 0.19)
    #expect(activity.idleShare > 0.5)
    let products = activity.operations.first { $0.name == "aten::mm" }
    #expect(products?.callCount == 3)
  }

  @Test func operatorsInsideOthersCountOnce() {
    let x = Tensor.randomNormal([257, 1031], generator: Generator(seed: 5), dtype: .float32)
    DeviceActivity.prepare(on: .cpu)
    let activity = DeviceActivity.record(on: .cpu) {
      for _ in 0..<5 { _ = x.transposed(0, 1).contiguous().sum() }
    }
    let sum = activity.operations.reduce(0) { $0 + $1.seconds }
    // contiguous calls clone, which calls copy_: the times of all three have the copy in them.
    #expect(sum > activity.busySeconds)
    #expect(activity.busySeconds <= activity.seconds)
  }
}
