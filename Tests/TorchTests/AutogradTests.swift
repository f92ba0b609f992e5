import Foundation
import Testing
import Torch

/// Gradients through the bridge.
@Suite struct AutogradTests {
  @Test func gradientOfAScalarNeedsNoSeed() {
    let x = Tensor([1, 2, 3] as [Float]).leaf()
    let result = gradients(of: [(x * x).sum()], withRespectTo: [x], outputGradients: [nil])
    #expect(result[0]?.floats() == [2, 4, 6])
  }

  @Test func severalOutputsAreWeightedAndSummed() {
    let x = Tensor([1, 2] as [Float]).leaf()
    let y = Tensor([5, 7] as [Float]).leaf()
    let result = gradients(
      of: [x * y, x * 3], withRespectTo: [x, y],
      outputGradients: [Tensor([1, 10] as [Float]), Tensor([100, 1000] as [Float])])
    #expect(result[0]?.floats() == [305, 3070])
    #expect(result[1]?.floats() == [1, 20])
  }

  @Test func unusedInputHasNoGradient() {
    let used = Tensor([2] as [Float]).leaf()
    let unused = Tensor([3] as [Float]).leaf()
    let result = gradients(
      of: [(used * used).sum()], withRespectTo: [unused, used, unused], outputGradients: [nil])
    #expect(result.map { $0?.floats() } == [nil, [4], nil])
  }

  @Test func inputInTheMiddleOfTheGraphGetsItsGradient() {
    let x = Tensor([3] as [Float]).leaf()
    let middle = x * x
    let result = gradients(
      of: [(middle * middle).sum()], withRespectTo: [middle, x], outputGradients: [nil])
    #expect(result[0]?.floats() == [18])
    #expect(result[1]?.floats() == [108])
  }

  @Test func gradientsStartAtTheEndOfAGraphWithoutItsMemory() {
    let x = Tensor([2, 3] as [Float]).leaf()
    let end = (x * x).graphEnd()
    #expect(end.shape == [0])
    #expect(end.requiresGradient)
    #expect(!Tensor([1] as [Float]).graphEnd().requiresGradient)
    let result = gradients(
      of: [end], withRespectTo: [x], outputGradients: [Tensor([1, 10] as [Float])])
    #expect(result[0]?.floats() == [4, 60])
  }

  @Test func gradientsDoNotAccumulateInLeaves() {
    let x = Tensor([3] as [Float]).leaf()
    for _ in 0..<3 {
      let result = gradients(of: [(x * x).sum()], withRespectTo: [x], outputGradients: [nil])
      #expect(result[0]?.floats() == [6])
    }
  }

  @Test func gradientsAreNotPartOfAGraph() {
    let x = Tensor([3] as [Float]).leaf()
    let gradient = gradients(of: [(x * x).sum()], withRespectTo: [x], outputGradients: [nil])[0]
    #expect(gradient?.requiresGradient == false)
  }

  @Test func leafSharesMemoryAndStartsANewGraph() {
    let x = Tensor([1, 2] as [Float]).leaf()
    let y = x * 2
    let leaf = y.leaf()
    #expect(y.requiresGradient && leaf.requiresGradient)
    #expect(leaf.sharesStorage(with: y))
    let result = gradients(
      of: [(leaf * 5).sum()], withRespectTo: [leaf, x], outputGradients: [nil])
    #expect(result[0]?.floats() == [5, 5])
    #expect(result[1] == nil)
    #expect(!y.detached().requiresGradient)
  }

  @Test func withoutGradientsNestsAndRestores() {
    let x = Tensor([1] as [Float]).leaf()
    func isRecording() -> Bool { (x * 2).requiresGradient }
    #expect(isRecording())
    withoutGradients {
      #expect(!isRecording())
      withGradientRecording(true) {
        #expect(isRecording())
        withoutGradients { #expect(!isRecording()) }
        #expect(isRecording())
      }
      #expect(!isRecording())
    }
    #expect(isRecording())
  }

  @Test func withoutGradientsRestoresAfterAnError() {
    struct Failure: Error {}
    let x = Tensor([1] as [Float]).leaf()
    #expect(throws: Failure.self) { try withoutGradients { throw Failure() } }
    #expect((x * 2).requiresGradient)
  }

  @Test func withoutGradientsIsOfItsThread() async {
    @Sendable func isRecording() -> Bool {
      (Tensor([1] as [Float]).leaf() * 2).requiresGradient
    }
    await withCheckedContinuation { continuation in
      withoutGradients {
        let group = DispatchGroup()
        DispatchQueue.global().async(group: group) { #expect(isRecording()) }
        group.wait()
        #expect(!isRecording())
      }
      continuation.resume()
    }
  }

  @Test func ownOperatorsRecordOnlyWhenAsked() {
    let x = Tensor.ones([2, 6]).leaf()
    #expect(x.swiGLU().requiresGradient)
    withoutGradients { #expect(!x.swiGLU().requiresGradient) }
    #expect(!x.detached().swiGLU().requiresGradient)
  }

  @Test func secondBackwardThroughTheSameGraphStops() async {
    await #expect(processExitsWith: .exitCode(6)) {
      let x = Tensor([3] as [Float]).leaf()
      let y = (x * x).sum()
      _ = gradients(of: [y], withRespectTo: [x], outputGradients: [nil])
      _ = gradients(of: [y], withRespectTo: [x], outputGradients: [nil])
    }
  }

  @Test func operatorsDifferentiateOnlyTheInputsThatAskForIt() {
    let generator = Generator(seed: 1)
    let weight = randomTensor([2, 5, 7], generator: generator).leaf()
    let y = randomTensor([11, 7], generator: generator).groupedLinear(
      weight: weight, offsets: Tensor([4, 11] as [Int64]))
    let result = gradients(of: [y.sum()], withRespectTo: [weight], outputGradients: [nil])
    #expect(result[0]?.shape == [2, 5, 7])
  }
}
