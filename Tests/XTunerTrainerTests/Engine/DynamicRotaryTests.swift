import Testing
import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Samples that are longer than the original context, each with frequencies of its own.
@Suite struct DynamicRotaryTests {
  private static func model() throws -> PreparedModel {
    let reference = try ReferenceModel(name: "qwen3_tied").prepared(isTrained: false)
    var configuration = reference.model.configuration
    configuration.rotary.scaling = .dynamic(factor: 3, originalPositionCount: 7)
    let prepared = PreparedModel(configuration, computeDType: .float32, isTrained: false)
    prepared.initialize(seed: 5)
    return prepared
  }

  private let lengths = [11, 5, 13, 7]
  private var bounds: [Int] { lengths.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) } }

  @Test func aSampleDoesNotDependOnThoseBesideIt() throws {
    let model = try Self.model().model
    let tokens = (0..<36).map { Int64(($0 * 37 + 11) % 160) }
    func hidden(_ range: Range<Int>, bounds: [Int]) -> Tensor {
      withoutGradients {
        model.hiddenStates(
          Tensor(Array(tokens[range])), model.makeContexts(ModelInput(bounds: bounds)))
      }
    }
    let packed = hidden(0..<36, bounds: bounds)
    for (start, end) in zip(bounds, bounds.dropFirst()) {
      let alone = hidden(start..<end, bounds: [0, end - start])
      let part = packed.narrowed(dim: 0, start: start, length: end - start)
      #expect(relativeDifference(part, alone) < 1e-6, "sample at \(start)")
    }
  }

  @Test func longSamplesHaveTheBaseOfTheirLength() throws {
    let model = try Self.model().model
    let rotary = model.configuration.rotary
    let table = model.makeContexts(ModelInput(bounds: bounds))[0].rotary
    for (start, length) in zip(bounds, lengths) {
      let expected = RotaryTable(
        positions: Tensor((0..<length).map { Int64($0) }),
        inverseFrequencies: Tensor(rotary.inverseFrequencies(length: length)))
      let own = table.cosine.narrowed(dim: 0, start: start, length: length)
      #expect(largestDifference(own, expected.cosine) == 0)
    }
    #expect(rotary.inverseFrequencies(length: 11) != rotary.inverseFrequencies(length: 13))
    #expect(rotary.inverseFrequencies(length: 5) == rotary.inverseFrequencies(length: 7))
  }

  /// A rank that has some of a pack's tokens has their rows.
  @Test func aPartOfThePackHasItsRowsOfTheTable() throws {
    let model = try Self.model().model
    let whole = model.makeContexts(ModelInput(bounds: bounds))[0].rotary
    let part = model.makeContexts(ModelInput(bounds: bounds, tokens: 3..<31))[0].rotary
    #expect(part.sine.shape == [28, 16])
    #expect(
      largestDifference(part.sine, whole.sine.narrowed(dim: 0, start: 3, length: 28)) == 0)
  }
}
