import Testing
import Torch
import XTunerNN

@testable import XTunerParallel

@Suite struct ParameterSliceTests {
  /// Runs of every slice of every layout, put together, are each element exactly once.
  @Test(arguments: [1, 2, 3], [1, 2])
  func slicesPartitionAnExpertParameter(experts: Int, tensors: Int) {
    let parameters = [
      Parameter(
        "gateUp", shape: [6, 8, 5], kind: .matrix, initializer: .zeros, role: .expert,
        tensorSplit: .init(dim: 1, blockCount: 2)),
      Parameter(
        "down", shape: [6, 5, 4], kind: .matrix, initializer: .zeros, role: .expert,
        tensorSplit: .init(dim: 2, blockCount: 1)),
    ]
    for parameter in parameters {
      var seen = Array(repeating: 0, count: parameter.elementCount)
      for expert in 0..<experts {
        for tensor in 0..<tensors {
          let slice = ParameterSlice(
            expertParameter: parameter, expert: expert, expertDegree: experts, tensor: tensor,
            tensorDegree: tensors)
          // What kernels compute indices from says the same.
          let indices = slice.indices
          let computed = (0..<slice.localCount).map {
            indices.start + $0 + $0 / indices.row * indices.gap
          }
          let listed = slice.runs(in: 0..<slice.localCount).flatMap {
            $0.global..<$0.global + $0.count
          }
          #expect(computed == listed)
          #expect(
            slice.localShape(parameter.shape, split: parameter.tensorSplit).reduce(1, *)
              == slice.localCount)
          // Cut at a place that no row ends at.
          let cut = slice.localCount / 3 + 1
          var local = 0
          for run in slice.runs(in: 0..<cut) + slice.runs(in: cut..<slice.localCount) {
            #expect(run.local == local)
            local += run.count
            for element in run.global..<run.global + run.count { seen[element] += 1 }
          }
        }
      }
      #expect(seen.allSatisfy { $0 == 1 })
    }
  }

  @Test func runsAreCutToARangeOfTheWhole() {
    let slice = ParameterSlice(shape: [3, 4], ranges: [0..<3, 1..<3])
    let runs = slice.runs(in: 0..<6)
    #expect(runs.map(\.global) == [1, 5, 9] && runs.map(\.local) == [0, 2, 4])
    let cut = runs.clamped(toGlobal: 2..<10)
    #expect(cut.map(\.global) == [2, 5, 9] && cut.map(\.local) == [1, 2, 4])
    #expect(cut.map(\.count) == [1, 2, 1])
    #expect(runs.clamped(toGlobal: 7..<9).isEmpty)
    #expect(runs.clamped(toGlobal: 12..<12).isEmpty)
    #expect(slice.runs(in: 3..<3).isEmpty)
  }
}
