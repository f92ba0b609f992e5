import Testing
import Torch

/// Accounts of tensors without memory.
@Suite struct MemoryLedgerTests {
  private func floats(_ shape: Int...) -> Tensor {
    Tensor.empty(shape, dtype: .float32, device: .meta)
  }

  /// x `[8, 16]` times w `[16, 32]`, then SiLU: what autograd keeps and makes counts, and nothing else.
  @Test func forwardAndBackwardTakeWhatHandSays() {
    let ledger = MemoryLedger(imagining: .cpu)
    ledger.use {
      let x = floats(8, 16).leaf()
      let w = floats(16, 32).leaf()
      let (weights, row) = (4 * (8 * 16 + 16 * 32), 4 * 8 * 32)
      #expect(ledger.moments[0].live.total == weights)
      ledger.beginMoment()
      let result = withGradientRecording(true) { x.matmul(w).silu() }
      // SiLU's backward needs its input; the result is ours.
      #expect(ledger.moments[1].live.total == weights + 2 * row)
      ledger.beginMoment()
      let seed = floats(8, 32)
      let found = gradients(of: [result], withRespectTo: [x, w], outputGradients: [seed])
      let moment = ledger.moments[2]
      #expect(found.map { $0?.shape } == [[8, 16], [16, 32]])
      // At most: seed, SiLU's gradient, and both results.
      #expect(moment.peak.total <= 2 * weights + 4 * row)
      #expect(moment.live.total == 2 * weights + 2 * row)
      withExtendedLifetime((result, seed)) {}
    }
    #expect(ledger.moments[2].live.total == 0)
  }

  @Test func partsAreWhatTensorsWereMadeFor() {
    let ledger = MemoryLedger(imagining: .cuda)
    #expect(ledger.kind == .cuda)
    ledger.use {
      let kept = withMemory(for: .head) { floats(3, 7) }
      do {
        let passing = withMemory(for: .buffers) { floats(5) }
        #expect(ledger.moments[0].live[.buffers] == 20)
        withExtendedLifetime(passing) {}
      }
      ledger.beginMoment()
      #expect(ledger.moments[0].peak[.buffers] == 20)
      #expect(ledger.moments[0].live[.buffers] == 0)
      // A moment begins with what is there.
      #expect(ledger.moments[1].peak.total == 84)
      kept.narrowed(dim: 0, start: 1, length: 1).useMemory(for: .gradients)
      #expect(ledger.moments[1].live[.head] == 0)
      #expect(ledger.moments[1].live[.gradients] == 84)
      withExtendedLifetime(kept) {}
    }
  }

  @Test func nothingCountsOutsideAndTensorsMayOutliveTheirAccount() {
    let outside = floats(4)
    var ledger: MemoryLedger? = MemoryLedger(imagining: .cpu)
    let inside = ledger?.use { floats(2, 2) }
    #expect(ledger?.moments[0].live.total == 16)
    let later = floats(9)
    #expect(ledger?.moments[0].peak.total == 16)
    later.useMemory(for: .head)
    ledger = nil
    #expect(inside?.shape == [2, 2] && outside.device == .meta)
  }

  /// Storages that memory comes to and goes from take nothing of their own.
  @Test func lentMemoryCountsOnce() {
    let ledger = MemoryLedger(imagining: .cpu)
    ledger.use {
      let whole = Tensor.detachedStorage(count: 6, dtype: .float32, device: .meta)
      #expect(ledger.moments[0].live.total == 0)
      do {
        let buffer = floats(6)
        whole.attachMemory(of: buffer)
      }
      #expect(ledger.moments[0].live.total == 24)
      whole.detachMemory()
      #expect(ledger.moments[0].live.total == 0)
    }
  }

  /// Where the host reads numbers, it gets zeros of the right count.
  @Test func whatIsReadIsZero() {
    let ledger = MemoryLedger(imagining: .cpu)
    ledger.use {
      #expect(Tensor([1, 2, 3] as [Float], device: .meta).floats() == [0, 0, 0])
      #expect(Tensor([5] as [Int64], shape: [], device: .meta).integerItem() == 0)
      #expect(Tensor([1.5] as [Double], device: .meta).doubles() == [0])
    }
    #expect(Tensor([1.5] as [Double]).doubles() == [1.5])
  }
}
