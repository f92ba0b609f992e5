import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerNN

@testable import XTunerTrainer
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerParallel
@testable import XTunerEngine

/// A unit with all that Muon tells apart; sizes are distinct primes.
private func makeParameters() -> [Parameter] {
  func make(
    _ name: String, _ shape: [Int], _ kind: Parameter.Kind = .matrix,
    role: Parameter.Role = .dense, precision: Parameter.Precision = .compute,
    blocks: Parameter.TensorSplit? = nil
  ) -> Parameter {
    Parameter(
      name, shape: shape, kind: kind, initializer: .normal(standardDeviation: 0.5), role: role,
      precision: precision, tensorSplit: blocks)
  }
  return [
    make("norm", [7], .norm), make("query", [13, 7]), make("bias", [13], .bias),
    make("embedding", [11, 7], .embedding), make("output", [7, 13]), make("row", [1, 19]),
    make("router", [3, 7], precision: .full),
    make("gateUp", [2 * 11, 7], blocks: .init(dim: 0, blockCount: 2)), make("down", [7, 11]),
    make("experts.gateUp", [3, 2 * 5, 7], role: .expert, blocks: .init(dim: 1, blockCount: 2)),
    make("experts.down", [3, 7, 5], role: .expert, blocks: .init(dim: 2, blockCount: 1)),
  ]
}

/// How many matrices a parameter is; nil for what AdamW updates.
private let matrixCounts = [
  "query": 1, "output": 1, "row": 1, "gateUp": 2, "down": 1, "experts.gateUp": 6, "experts.down": 3,
]

@Suite struct MuonTests {
  private func makeUnit(
    _ parameters: [Parameter], dtype: DType = .float32, decaysNorms: Bool = false
  ) -> FlatUnit {
    let unit = FlatUnit(
      name: "unit", parameters: parameters, computeDType: dtype, purpose: .training,
      decays: { $0.kind == .matrix || $0.kind == .embedding || decaysNorms && $0.kind == .norm })
    unit.initialize(seed: 17)
    return unit
  }

  private func gradient(_ parameter: Parameter, step: Int) -> Tensor {
    let seed = FlatUnit.seed(UInt64(step), name: parameter.name)
    return Tensor.randomNormal(
      parameter.shape, generator: Generator(seed: seed), dtype: .float32) * 0.01
  }

  private func values(_ tensor: Tensor) -> [Double] { tensor.floats().map { Double($0) } }

  @Test(arguments: [true, false], [true, false])
  func stepsEqualPlainLoopsOverEachMatrix(nesterov: Bool, decaysNorms: Bool) throws {
    let parameters = makeParameters()
    let unit = makeUnit(parameters, decaysNorms: decaysNorms)
    var options = Muon.Options()
    options.usesNesterov = nesterov
    options.momentum = 0.9
    options.adamW.weightDecay = 0.3
    let muon = Muon([unit], options: options)
    // One a matrix, or one for all that AdamW updates of a parameter.
    var plain = parameters.map { parameter in
      let whole = values(unit.writableView(of: parameter))
      let size = whole.count / matrixCounts[parameter.name, default: 1]
      return stride(from: 0, to: whole.count, by: size).map {
        PlainMuon(Array(whole[$0..<$0 + size]))
      }
    }
    let (rate, scale) = (0.03, 0.37)
    for step in 0..<3 {
      unit.clearGradients()
      for (index, parameter) in parameters.enumerated() {
        let gradient = gradient(parameter, step: step)
        unit.accumulate(gradient, for: parameter)
        let flat = values(gradient).map { $0 * scale }
        let size = flat.count / plain[index].count
        let isMatrix = matrixCounts[parameter.name] != nil
        let decays = parameter.kind != .bias && (parameter.kind != .norm || decaysNorms)
        let decay = decays ? 0.3 : 0
        for part in plain[index].indices {
          let own = Array(flat[part * size..<(part + 1) * size])
          if isMatrix {
            plain[index][part].stepAsMatrix(
              rows: size / parameter.shape[parameter.shape.count - 1], gradient: own, rate: rate,
              decay: decay, momentum: 0.9, nesterov: nesterov)
          } else {
            plain[index][part].stepAsVector(
              gradient: own, rate: rate, decay: decay, beta1: 0.9, beta2: 0.95, epsilon: 1e-8)
          }
        }
      }
      try muon.step(learningRate: rate, gradientScale: scale)
    }
    for (index, parameter) in parameters.enumerated() {
      let expected = plain[index].flatMap(\.weights)
      let actual = values(unit.writableView(of: parameter))
      let difference = zip(expected, actual).map { abs($0 - $1) }.max() ?? 0
      #expect(difference < 2e-6, "\(parameter.name): off by \(difference)")
    }
  }

  /// `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, recorded by
  /// `Tests/Reference/make_muon_reference.py`: the same to rounding in float32, and to 2 % of the
  /// updates in bfloat16, whose roundings depend on the kernel.
  @Test(arguments: [(DType.float32, 1e-6), (.bfloat16, 1e-3)])
  func stepsEqualThoseOfPyTorch(dtype: DType, tolerance: Double) throws {
    let file = try ReferenceModel(name: "muon").file("muon")
    let names = ["tall", "wide", "square", "row", "column"]
    let parameters = try names.map { name in
      Parameter(
        name, shape: try file.tensor("\(name).weight").shape, kind: .matrix, initializer: .zeros)
    }
    let unit = makeUnit(parameters, dtype: dtype)
    for parameter in parameters {
      unit.writableView(of: parameter).copy(from: try file.tensor("\(parameter.name).weight"))
    }
    let muon = Muon([unit], options: Muon.Options())
    for step in 0..<3 {
      unit.clearGradients()
      for parameter in parameters {
        unit.accumulate(try file.tensor("\(parameter.name).grad.\(step)"), for: parameter)
      }
      try muon.step(learningRate: 0.02, gradientScale: 1)
      for parameter in parameters {
        let kind = dtype == .float32 ? "float32" : "bfloat16"
        let difference = largestDifference(
          unit.writableView(of: parameter), try file.tensor("\(parameter.name).\(kind).\(step)"))
        #expect(difference < tolerance, "\(parameter.name), step \(step): off by \(difference)")
      }
    }
  }

  @Test func computeCopyIsTheRoundedMaster() throws {
    let parameters = makeParameters()
    let unit = makeUnit(parameters, dtype: .bfloat16)
    let before = unit.weights.cloned()
    for parameter in parameters { unit.accumulate(gradient(parameter, step: 0), for: parameter) }
    try Muon([unit], options: Muon.Options()).step(learningRate: 0.03, gradientScale: 1)
    #expect(unit.compute.floats() == unit.weights.to(.bfloat16).floats())
    for slot in unit.slots {
      #expect(largestDifference(unit.view(unit.weights, slot), unit.view(before, slot)) > 1e-3)
    }
  }

  @Test func missingGradientsLeaveOnlyDecay() throws {
    let parameters = makeParameters()
    let unit = makeUnit(parameters)
    let before = unit.weights.cloned()
    var options = Muon.Options()
    options.adamW.weightDecay = 0.5
    try Muon([unit], options: options).step(learningRate: 0.1, gradientScale: 1)
    for slot in unit.slots {
      let factor = slot.range.upperBound <= unit.decayedCount ? 0.95 : 1
      let expected = unit.view(before, slot) * factor
      #expect(largestDifference(unit.view(unit.weights, slot), expected) < 1e-6)
    }
  }

  @Test func updateOfEachMatrixHasTheSizeOfAnAdamWUpdate() throws {
    let parameters = makeParameters()
    let unit = makeUnit(parameters)
    let before = unit.weights.cloned()
    for parameter in parameters { unit.accumulate(gradient(parameter, step: 0), for: parameter) }
    var options = Muon.Options()
    options.adamW.weightDecay = 0
    try Muon([unit], options: options).step(learningRate: 1, gradientScale: 1)
    for slot in unit.slots where matrixCounts[slot.parameter.name] != nil {
      let update = unit.view(unit.weights, slot) - unit.view(before, slot)
      let size = (update * update).mean().item().squareRoot()
      #expect((0.2 * 0.68...0.2 * 1.21).contains(size), "\(slot.parameter.name): \(size)")
    }
  }

  @Test func secondMomentsAreOnlyOfWhatAdamWUpdates() throws {
    let unit = makeUnit(makeParameters())
    let state = try #require(Muon([unit], options: Muon.Options()).states.first)
    #expect(state.second?.use { $0.elementCount } == 7 + 13 + 11 * 7 + 3 * 7)
    let experts = makeUnit(makeParameters().filter { $0.role == .expert })
    #expect(Muon([experts], options: Muon.Options()).states[0].second == nil)
  }

  @Test func momentsThatRestInHostMemoryChangeNothing() throws {
    let weights = try [nil, HostSwap()].map { swap in
      let parameters = makeParameters()
      // Two units, so that one comes in while the other is updated.
      let units = [makeUnit(Array(parameters[..<5])), makeUnit(Array(parameters[5...]))]
      let muon = Muon(units, options: Muon.Options(), swap: swap)
      for step in 0..<3 {
        for unit in units {
          unit.clearGradients()
          for slot in unit.slots {
            unit.accumulate(gradient(slot.parameter, step: step), for: slot.parameter)
          }
        }
        try muon.step(learningRate: 0.03, gradientScale: 1)
      }
      return units.map { $0.weights.floats() }
    }
    #expect(weights[0] == weights[1])
  }

  // MARK: The plan

  @Test func matricesAreThoseThatTheModelMultipliesBy() {
    let unit = makeUnit(makeParameters())
    let matrices = MuonPlan(unit).matrices
    for slot in unit.slots {
      let own = matrices.filter { slot.range.contains($0.offset) }
      #expect(own.count == matrixCounts[slot.parameter.name, default: 0], "\(slot.parameter.name)")
      for matrix in own {
        #expect(matrix.range.clamped(to: slot.range) == matrix.range)
        #expect(matrix.columns == slot.parameter.shape[slot.parameter.shape.count - 1])
        #expect(matrix.range.count * own.count == slot.parameter.elementCount)
      }
    }
  }

  @Test func costliestMatricesAreDealtFirst() {
    let shapes = [(2, 3), (11, 13), (3, 5), (11, 7), (13, 11), (5, 7), (11, 7)]
    let dealt = MuonPlan.deal(
      shapes.map { MuonPlan.Matrix(offset: 0, rows: $0.0, columns: $0.1, isDecayed: true) },
      over: 3)
    // 1573 each for the two largest; 539 and 539 to the third, then 175 and 45 there too.
    #expect(dealt.map(\.owner) == [2, 0, 2, 2, 1, 2, 2])
    let one = MuonPlan.deal(dealt, over: 1)
    #expect(one.allSatisfy { $0.owner == 0 })
  }
}
