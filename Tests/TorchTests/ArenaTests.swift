import Testing
import Torch

/// Tensors whose memory is kept.
///
/// Each in a process of its own, since the allocator is the process's.
@Suite struct ArenaTests {
  @Test func memoryIsTakenAgain() async {
    await #expect(processExitsWith: .success) {
      let before = Tensor.ones([1 << 20], dtype: .float32)
      Torch.keepFreedMemory()
      func step() -> Double {
        var sum = 0.0
        for size in [1 << 20, 700_001, 17, 1 << 18, 123_457] {
          let a = Tensor.full([size], value: .integer(size % 7), dtype: .float32)
          let b = a.adding(scalar: 1)
          sum += b.sum(dims: [0]).item()
        }
        return sum
      }
      let first = step()
      let kept = Torch.arenaByteCounts.kept
      precondition(kept > 8 << 20, "large tensors come from the arena")
      for _ in 0..<50 { precondition(step() == first) }
      precondition(Torch.arenaByteCounts.kept == kept, "no step takes more than the first")
      precondition(Torch.arenaByteCounts.used == 0, "everything is given back")
      precondition(before.sum(dims: [0]).item() == 1_048_576, "older tensors stay")
    }
  }

  @Test func blocksDoNotOverlap() async {
    await #expect(processExitsWith: .success) {
      Torch.keepFreedMemory()
      var numbers = SystemRandomNumberGenerator()
      var alive: [(tensor: Tensor, mark: Int)] = []
      for mark in 0..<2000 {
        if alive.count > 40 || (alive.count > 0 && Bool.random(using: &numbers)) {
          let (tensor, mark) = alive.remove(at: Int.random(in: 0..<alive.count, using: &numbers))
          let values: [Int32] = tensor.elements()
          precondition(values.allSatisfy { $0 == Int32(mark) })
        }
        let count = Int.random(in: 16_000..<300_000, using: &numbers)
        alive.append((Tensor.full([count], value: .integer(mark), dtype: .int32), mark))
      }
    }
  }

  @Test func impossibleSizeStopsWithItsNumber() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      Torch.keepFreedMemory()
      _ = Tensor.empty([1 << 50], dtype: .uint8)
    }
    #expect(FailureTests.message(result).contains("the system has no 1125899906842624 bytes"))
  }
}
