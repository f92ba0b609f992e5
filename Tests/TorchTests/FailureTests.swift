import Foundation
import Testing
import Torch

/// Wrong arguments stop the process with libtorch's message and exit code 6; none of them crashes.
@Suite struct FailureTests {
  /// The last lines that a process wrote to stderr.
  static func message(_ result: ExitTest.Result?) -> String {
    String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
  }

  @Test func failedOperationStopsWithItsMessage() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      _ = Tensor.zeros([2, 3]).matmul(Tensor.zeros([5, 7]))
    }
    let message = Self.message(result)
    #expect(message.contains("error: "))
    #expect(message.contains("mat1 and mat2 shapes cannot be multiplied (2x3 and 5x7)"))
    #expect(!message.contains("frame #0"), "no C++ backtrace for people")
  }

  @Test func reporterHearsOfFailureBeforeExit() async {
    let result = await #expect(
      processExitsWith: .exitCode(TensorFailure.exitCode), observing: [\.standardErrorContent]
    ) {
      TensorFailure.onFailure { message in
        Tensor.scalar(.integer(0)).fill(1)  // Other operations still work inside the report.
        FileHandle.standardError.write(Data("reported: \(message)\n".utf8))
      }
      _ = Tensor.zeros([2]).view([3])
    }
    #expect(Self.message(result).contains("reported: view"))
  }

  @Test func itemOfManyElementsStops() async {
    await #expect(processExitsWith: .exitCode(6)) { _ = Tensor.zeros([2]).item() }
  }

  @Test func wrongByteCountStops() async {
    await #expect(processExitsWith: .exitCode(6)) {
      _ = Tensor([1, 2, 3] as [Float], shape: [2, 2])
    }
  }

  @Test func failureInsideBackwardStops() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      let rows = Tensor.zeros([2, 3]).leaf()
      // One row for two slots: found when the gradient would be written twice.
      let y = rows.unpermutedRows(
        weights: Tensor.ones([2, 1]), rowOfSlot: Tensor([1, 1] as [Int64], shape: [2, 1]))
      _ = gradients(of: [y], withRespectTo: [rows], outputGradients: [Tensor.ones([2, 3])])
    }
    #expect(Self.message(result).contains("row 1 has two slots"))
  }

  @Test func indexOutsideRowsStops() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      _ = Tensor.zeros([4, 3]).permutedRows(
        tokenOfRow: Tensor([0, -1, 4] as [Int64]), rowOfSlot: Tensor([0] as [Int64], shape: [1, 1]))
    }
    #expect(Self.message(result).contains("index -1 at 1 is outside 0..<4"))
  }

  @Test func fallingOffsetsStop() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      _ = Tensor.zeros([5, 3]).groupedLinear(
        weight: Tensor.zeros([3, 2, 3]), offsets: Tensor([4, 2, 5] as [Int64]))
    }
    #expect(Self.message(result).contains("offsets fall from 4 to 2 at group 1"))
  }

  @Test func boundsThatMissTokensStop() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      let x = Tensor.zeros([5, 2, 16])
      _ = Tensor.varlenAttention(
        query: x, key: x, value: x, bounds: Tensor([0, 3] as [Int64]), scale: 1)
    }
    #expect(Self.message(result).contains("bounds must go from 0 to the 5 tokens"))
  }

  @Test func weightOfAnotherDTypeStops() async {
    await #expect(processExitsWith: .exitCode(6)) {
      _ = Tensor.zeros([2, 3]).rmsNorm(
        weight: Tensor.zeros([3], dtype: .bfloat16), epsilon: 1e-6)
    }
  }
}
