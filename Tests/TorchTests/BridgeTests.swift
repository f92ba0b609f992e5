import Foundation
import Testing
import Torch

/// Views, generators, thread settings and handles.
@Suite struct BridgeTests {
  // MARK: - Views

  @Test func viewsShareStorageAndHaveStrides() {
    let tensor = Tensor((0..<30).map { Int32($0) }, shape: [2, 3, 5])
    #expect(tensor.strides == [15, 5, 1])
    let turned = tensor.transposed(0, 2)
    #expect(turned.shape == [5, 3, 2])
    #expect(turned.strides == [1, 5, 15])
    #expect(!turned.isContiguous)
    #expect(turned.sharesStorage(with: tensor))
    let copy = turned.contiguous()
    #expect(copy.isContiguous)
    #expect(copy.strides == [6, 2, 1])
    #expect(!copy.sharesStorage(with: tensor))
    #expect(copy.elements(as: Int32.self) == turned.elements(as: Int32.self))
  }

  @Test func copiesOfAHandleAliasMemory() {
    let a = Tensor.zeros([3])
    let b = a
    b.fill(2)
    #expect(a.floats() == [2, 2, 2])
    #expect(a.sharesStorage(with: b))
  }

  @Test func sizesCountFromEitherEnd() {
    let tensor = Tensor.zeros([2, 3, 5])
    #expect((0..<3).map(tensor.size) == [2, 3, 5])
    #expect((-3..<0).map(tensor.size) == [2, 3, 5])
  }

  @Test func conversionToTheSameDTypeIsTheSameTensor() {
    let tensor = Tensor.zeros([2])
    #expect(tensor.to(.float32).sharesStorage(with: tensor))
    #expect(!tensor.to(.float64).sharesStorage(with: tensor))
    #expect(tensor.to(tensor.device).sharesStorage(with: tensor))
  }

  @Test func descriptionNamesShapeDTypeAndDevice() {
    #expect(Tensor.zeros([2, 3], dtype: .bfloat16).description == "[2, 3] bfloat16 cpu")
  }

  // MARK: - Generators

  @Test func sameSeedGivesSameNumbers() {
    func numbers(_ seed: UInt64) -> [Float] {
      Tensor.randomNormal([101], generator: Generator(seed: seed)).floats()
    }
    #expect(numbers(7) == numbers(7))
    #expect(numbers(7) != numbers(8))
    #expect(numbers(.max) == numbers(.max))
  }

  @Test func generatorsDoNotDisturbEachOther() {
    let (a, b) = (Generator(seed: 3), Generator(seed: 3))
    var first: [Float] = []
    var second: [Float] = []
    for _ in 0..<5 {
      first += Tensor.randomUniform([7], generator: a).floats()
      _ = Tensor.randomUniform([11], generator: Generator(seed: 9))
    }
    for _ in 0..<5 { second += Tensor.randomUniform([7], generator: b).floats() }
    #expect(first == second)
  }

  @Test func stateContinuesWhereItWasSaved() {
    let generator = Generator(seed: 5)
    _ = Tensor.randomNormal([13], generator: generator)
    let state = generator.state
    #expect(state.dtype == .uint8)
    let expected = Tensor.randomNormal([17], generator: generator).floats()
    let other = Generator(seed: 99)
    // The bytes travel through a checkpoint.
    other.state = Tensor(state.elements(as: UInt8.self))
    #expect(Tensor.randomNormal([17], generator: other).floats() == expected)
    generator.state = state
    #expect(Tensor.randomNormal([17], generator: generator).floats() == expected)
  }

  @Test func everyRandomOperationTakesAGenerator() {
    func draw(_ seed: UInt64) -> [[Float]] {
      let generator = Generator(seed: seed)
      let filled = Tensor.zeros([31])
      filled.fillNormal(mean: 1, standardDeviation: 2, generator: generator)
      let uniform = Tensor.zeros([31])
      uniform.fillUniform(from: -1, to: 1, generator: generator)
      return [
        filled.floats(), uniform.floats(),
        Tensor.randomIntegers(from: 0, to: 1000, shape: [31], generator: generator, dtype: .int64)
          .floats(),
        Tensor.randomPermutation(31, generator: generator, dtype: .int64).floats(),
      ]
    }
    #expect(draw(1) == draw(1))
    for (a, b) in zip(draw(1), draw(2)) { #expect(a != b) }
  }

  // MARK: - The process

  @Test func factsAboutLibtorchAreThere() {
    #expect(Torch.version.hasPrefix("2.11"))
    #expect(!Torch.cpuCapability.isEmpty)
    #expect(Torch.threadCount >= 1)
  }

  @Test func threadCountIsSetAndDoesNotChangeTheBits() async {
    await #expect(processExitsWith: .success) {
      func run(threads: Int) -> [Outcome] {
        Torch.setThreadCount(threads)
        #expect(Torch.threadCount == threads)
        let generator = Generator(seed: 1)
        let x = randomTensor([257, 134], dtype: .bfloat16, generator: generator)
        let weight = randomTensor([134], dtype: .bfloat16, generator: generator)
        let assignment = Assignment(tokens: 257, slots: 3, seed: 2)
        let mixing = randomTensor([257, 3], generator: generator)
        let angles = randomTensor([257, 33], generator: generator)
        let heads = randomTensor([257, 5, 66], dtype: .bfloat16, generator: generator)
        return [
          Outcome([x, weight]) { $0[0].rmsNorm(weight: $0[1], epsilon: 1e-6) },
          Outcome([x]) { $0[0].swiGLU() },
          Outcome([heads]) { $0[0].rotated(cosine: angles.cos(), sine: angles.sin()) },
          Outcome([x, mixing]) {
            $0[0].permutedRows(tokenOfRow: assignment.tokenOfRow, rowOfSlot: assignment.rowOfSlot)
              .unpermutedRows(weights: $0[1], rowOfSlot: assignment.rowOfSlot)
          },
          Outcome([heads, heads, heads, randomTensor([5], generator: generator)]) {
            Tensor.varlenAttention(
              query: $0[0], key: $0[1], value: $0[2], bounds: Tensor([0, 31, 34, 257] as [Int64]),
              scale: 0.1, sinks: $0[3])
          },
        ]
      }
      func flat(threads: Int) -> [UInt8] {
        Torch.setThreadCount(threads)
        let generator = Generator(seed: 3)
        let table = Tensor.zeros([11, 131])
        table.addRows(
          randomTensor([301, 131], generator: generator),
          at: Tensor((0..<301).map { Int64($0 * $0 % 11) }))
        let x = randomTensor([70_001], generator: generator)
        return bytes(table) + bytes(x.squaredSum())
      }
      for threads in [2, 3] {
        for (a, b) in zip(run(threads: 1), run(threads: threads)) { expectSameBits(a, b) }
        #expect(flat(threads: 1) == flat(threads: threads))
      }
    }
  }

  @Test func handlesDoNotLeak() async {
    // In a process of its own: other tests make tensors at the same time.
    await #expect(processExitsWith: .success) {
      func work(_ round: Int) {
        let x = Tensor([1, 2, 3, 5] as [Float], shape: [2, 2]).leaf()
        let unused = Tensor.ones([2]).leaf()
        let parts = (x * 2).split(sizes: [1, 1])
        let y = Tensor.concatenated(parts.reversed()).sum()
        let result = gradients(
          of: [y], withRespectTo: [x, unused], outputGradients: [nil])
        #expect(result[0] != nil && result[1] == nil)
        let generator = Generator(seed: UInt64(round))
        generator.state = generator.state
        let (values, _) = x.detached().sorted(isStable: true)
        withoutGradients { _ = values.floats() }
        _ = x.swiGLU()
        _ = x.squaredSum().item()
      }
      work(0)
      let before = Tensor.liveHandleCount
      for round in 1...50 { work(round) }
      #expect(Tensor.liveHandleCount == before)
    }
  }

  @Test func memoryOfDeadTensorsIsGivenBack() async {
    await #expect(processExitsWith: .success) {
      func residentBytes() throws -> Int {
        let fields = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
          .split(separator: " ")
        return try #require(Int(fields[1])) * 4096
      }
      func work() {
        let x = Tensor.ones([1 << 20]).leaf()  // 4 MiB
        let y = ((x * 2) * x).sum()
        _ = gradients(of: [y], withRespectTo: [x], outputGradients: [nil])
      }
      for _ in 0..<5 { work() }
      let before = try residentBytes()
      for _ in 0..<50 { work() }
      #expect(try residentBytes() - before < 64 << 20)
    }
  }
}
