import Testing

@testable import Torch

@Suite struct OperationProfileTests {
  @Test func countsCallsAndArithmetic() throws {
    let a = Tensor.zeros([11, 7], dtype: .float32)
    let b = Tensor.zeros([7, 13], dtype: .float32)
    let (product, profile) = OperationProfile.record {
      _ = a.matrixProduct(b)
      return a.matrixProduct(b)
    }
    #expect(product.shape == [11, 13])
    let operation = try #require(profile.operations.first { $0.name == "aten::mm" })
    #expect(operation.callCount == 2)
    let products = 11 * 7 * 13
    #expect(operation.flops == Double(2 * 2 * products))
    let elementCount = 11 * 7 + 7 * 13 + 11 * 13
    #expect(operation.byteCount == Double(2 * 4 * elementCount))
    #expect(operation.totalSeconds >= operation.seconds)
    #expect(profile.callCount("aten::mm") == 2)
    #expect(profile.callCount("aten::bmm") == 0)
  }

  @Test func separatesShapesWhenAsked() {
    let (_, profile) = OperationProfile.record(byShape: true) {
      _ = Tensor.zeros([5], dtype: .float32).adding(scalar: 1)
      _ = Tensor.zeros([3, 7], dtype: .bfloat16).adding(scalar: 1)
    }
    let shapes = Set(profile.operations.filter { $0.name == "aten::add" }.map(\.shapes))
    #expect(shapes.isSuperset(of: ["f32[5]", "bf16[3, 7]"]))
    #expect(profile.operations.allSatisfy { !$0.name.isEmpty })
  }

  @Test func countsBlocksOfMemory() {
    let (_, profile) = OperationProfile.record {
      for _ in 0..<3 { _ = Tensor.zeros([1024], dtype: .float32) }
    }
    #expect(profile.allocationCount == 3)
    #expect(profile.allocatedByteCount == 3 * 4096)
    #expect(profile.peakByteCount == 4096)
  }

  @Test func countsAnOwnOperatorOncePerCallInBothPasses() {
    let x = Tensor.randomNormal([5, 14], generator: Generator(seed: 2), dtype: .float32)
    x.setRequiresGradient()
    let (_, profile) = OperationProfile.record {
      let y = x.swiGLU()
      _ = gradients(of: [y], withRespectTo: [x], outputGradients: [y.detached()])
    }
    #expect(profile.callCount("xtuner::swiglu") == 1)
    #expect(profile.callCount("xtuner::swiglu_backward") == 1)
  }

  @Test func recordsNothingBehindItsEndEvenOfAThrow() {
    struct Failure: Error {}
    let tensor = Tensor.zeros([3], dtype: .float32)
    #expect(throws: Failure.self) {
      _ = try OperationProfile.record { throw Failure() }
    }
    let (_, profile) = OperationProfile.record { _ = tensor.adding(scalar: 2) }
    _ = tensor.adding(scalar: 3)
    #expect(profile.callCount("aten::add") == 1)
  }
}
