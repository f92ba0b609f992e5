import Testing
import Torch
import XTunerNN

@testable import XTunerParallel

private func makeParameters() -> [Parameter] {
  [
    Parameter("a.norm", shape: [7], kind: .norm, initializer: .ones),
    Parameter(
      "a.matrix", shape: [3, 5], kind: .matrix, initializer: .normal(standardDeviation: 0.5)),
    Parameter(
      "a.router", shape: [2, 5], kind: .matrix, initializer: .normal(standardDeviation: 0.5),
      precision: .full),
    Parameter(
      "a.experts", shape: [2, 3, 5], kind: .matrix, initializer: .normal(standardDeviation: 0.5),
      role: .expert),
  ]
}

@Suite struct FlatUnitTests {
  @Test func parametersAreViewsAndDecayedOnesComeFirst() {
    let parameters = makeParameters()
    let unit = FlatUnit(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .training)
    #expect(unit.slots.map(\.parameter.name) == ["a.matrix", "a.router", "a.experts", "a.norm"])
    #expect(unit.slots.allSatisfy { $0.offset % 16 == 0 })
    #expect(unit.decayedCount == unit.slots[3].offset)
    #expect(parameters[1].value.dtype == .bfloat16)
    #expect(parameters[1].value.sharesStorage(with: unit.compute))
  }

  @Test func aGroupKeepsRoutersInFullPrecisionAndExpertsApart() {
    let parameters = makeParameters()
    let group = UnitGroup(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .training,
      mesh: ProcessMesh(), pool: BufferPool(), decays: { $0.kind == .matrix })
    #expect(group.units.map(\.name) == ["a", "a.float32", "a.experts"])
    #expect(group.unit(of: parameters[2])?.name == "a.float32")
    #expect(parameters[2].value.dtype == .float32)
    #expect(parameters[2].value.sharesStorage(with: group.units[1].master!))
    #expect(group.unit(of: parameters[3])?.name == "a.experts")
  }

  @Test func publishRoundsTheMasterIntoTheComputeCopy() {
    let parameters = makeParameters()
    let unit = FlatUnit(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .training)
    unit.initialize(seed: 3)
    let master = unit.writableView(of: parameters[1])
    #expect(parameters[1].value.floats() == master.to(.bfloat16).floats())
    #expect(parameters[0].value.floats() == Array(repeating: 1, count: 7))
  }

  @Test func firstWeightsDependOnSeedAndNameAlone() {
    let first = makeParameters()
    FlatUnit(name: "a", parameters: first, computeDType: .float32, purpose: .training)
      .initialize(seed: 3)
    let second = Array(makeParameters().reversed())
    FlatUnit(name: "b", parameters: second, computeDType: .float32, purpose: .training)
      .initialize(seed: 3)
    #expect(first[1].value.floats() == second[2].value.floats())
    #expect(first[3].value.floats() == second[0].value.floats())
    let other = makeParameters()
    FlatUnit(name: "a", parameters: other, computeDType: .float32, purpose: .training)
      .initialize(seed: 4)
    #expect(first[1].value.floats() != other[1].value.floats())
  }

  @Test func gradientsAccumulateAndMissingOnesAreZero() {
    let parameters = makeParameters()
    let unit = FlatUnit(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .training)
    let ones = Tensor.ones([3, 5], dtype: .bfloat16)
    unit.accumulate(ones, for: parameters[1])
    unit.accumulate(ones, for: parameters[1])
    #expect(unit.finishedGradient().sum().item() == 30)
    unit.clearGradients()
    unit.accumulator(of: parameters[0]).add(Tensor.ones([7], dtype: .float32))
    #expect(unit.finishedGradient().sum().item() == 7)
  }

  @Test func aSoleGradientStaysTheTensorThatItCameAs() throws {
    let parameters = makeParameters()
    let unit = FlatUnit(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .training)
    let gradient = Tensor.randomNormal([3, 5], generator: Generator(seed: 2), dtype: .float32)
      .to(.bfloat16)
    unit.accumulate(gradient, for: parameters[1])
    #expect(unit.gradient == nil)
    let pieces = unit.gradientPieces()
    let ranges = unit.slots.map(\.range)
    #expect(pieces.map(\.range) == ranges)
    let place = try #require(unit.slots.firstIndex { $0.parameter === parameters[1] })
    #expect(pieces[place].gradient.sharesStorage(with: gradient))
    for (index, piece) in pieces.enumerated() where index != place {
      #expect(piece.gradient.floats().allSatisfy { $0 == 0 })
    }
    // In float32 it is the same, and so is the sum with a second one, rounded nowhere.
    #expect(unit.gradientView(of: parameters[1]).floats() == gradient.floats())
    unit.clearGradients()
    // The unit has float32 sums now, and keeps no tensors beside them.
    unit.accumulate(gradient, for: parameters[1])
    #expect(unit.soleGradients.allSatisfy { $0 == nil })
    let second = Tensor.randomNormal([3, 5], generator: Generator(seed: 3), dtype: .float32)
      .to(.bfloat16)
    unit.accumulate(second, for: parameters[1])
    let sum = gradient.to(.float32) + second.to(.float32)
    #expect(unit.gradientView(of: parameters[1]).floats() == sum.floats())
    unit.clearGradients()
    #expect(unit.gradientPieces().allSatisfy { $0.gradient.floats().allSatisfy { $0 == 0 } })
  }

  @Test func withoutAMasterTheComputeTensorHasTheWeights() {
    let parameters = makeParameters()
    let unit = FlatUnit(
      name: "a", parameters: parameters, computeDType: .bfloat16, purpose: .trainingWithoutMaster)
    unit.initialize(seed: 5)
    #expect(unit.master == nil)
    #expect(unit.weights.sharesStorage(with: unit.compute))
    let other = makeParameters()
    FlatUnit(name: "a", parameters: other, computeDType: .bfloat16, purpose: .training)
      .initialize(seed: 5)
    for (own, expected) in zip(parameters, other) {
      #expect(own.value.floats() == expected.value.floats())
    }
  }
}
