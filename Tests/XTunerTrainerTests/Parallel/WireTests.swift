import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// What differs on purpose, and what must not differ at all.
@Suite(.serialized) struct WireTests {
  private static func run(
    _ layout: ParallelLayout, dtype: DType, wire: GradientWire, stepCount: Int = 3
  ) throws -> [Curve] {
    try runMesh(layout) { mesh in
      var testCase = LayoutCase(model: "qwen3_moe", microBatches: 2)
      testCase.interleave = 2
      return try InvarianceRun.curve(
        testCase, mesh: mesh, stepCount: stepCount, dtype: dtype, wire: wire)
    }
  }

  private static let layout = ParallelLayout(worldSize: 4, replicate: 2, expert: 2)

  /// The same layout twice: bit for bit, in both number types and on every rank.
  @Test(arguments: [DType.float32, .bfloat16], GradientWire.allCases)
  func runsOfOneLayoutAreBitEqual(_ dtype: DType, wire: GradientWire) throws {
    let first = try Self.run(Self.layout, dtype: dtype, wire: wire)
    let second = try Self.run(Self.layout, dtype: dtype, wire: wire)
    for (rank, curve) in second.enumerated() {
      #expect(curve == first[0], "rank \(rank)")
      #expect(first[rank] == first[0], "rank \(rank)")
    }
  }

  /// bfloat16 keeps 8 bits: a gradient that travels in it is off by at most 2^-9 of itself, and a
  /// norm by much less, since the roundings of elements cancel.
  @Test func sixteenBitWireRoundsGradientsAndNothingElse() throws {
    let layout = ParallelLayout(worldSize: 2)
    let exact = try Self.run(layout, dtype: .float32, wire: .float32, stepCount: 1)[0]
    let rounded = try Self.run(layout, dtype: .float32, wire: .bfloat16, stepCount: 1)[0]
    #expect(rounded.losses == exact.losses)
    let difference = abs(rounded.norms[0] / exact.norms[0] - 1)
    #expect(difference > 0 && difference < 0.002, "\(difference)")
  }

  /// Weights and activations in bfloat16 round in another order on ranks; losses stay near.
  @Test func sixteenBitRanksStayNearOneRank() throws {
    let alone = try Self.run(.single, dtype: .bfloat16, wire: .float32)[0]
    let spread = try Self.run(Self.layout, dtype: .bfloat16, wire: .float32)[0]
    for (a, b) in zip(alone.losses, spread.losses) { #expect(abs(a / b - 1) < 2e-3) }
    for (a, b) in zip(alone.norms, spread.norms) { #expect(abs(a / b - 1) < 2e-2) }
  }
}
