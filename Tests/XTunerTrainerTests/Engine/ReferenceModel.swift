import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// A tiny checkpoint with the numbers that transformers computes for it, recorded by
/// `Tests/Reference/make_reference.py`.
struct ReferenceModel: Sendable, CustomTestStringConvertible {
  let name: String

  static let all = ["qwen3_tied", "qwen3_untied", "qwen3_moe"].map(ReferenceModel.init(name:))
  static let withCurve = ["qwen3_tied", "qwen3_moe"].map(ReferenceModel.init(name:))

  var testDescription: String { name }

  var folder: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Fixtures/reference/\(name)").path
  }

  func file(_ name: String) throws -> SafetensorsFile {
    try SafetensorsFile(path: "\(folder)/\(name).safetensors")
  }

  func prepared(
    isTrained: Bool = true, dtype: DType = .float32, mesh: ProcessMesh = ProcessMesh()
  ) throws -> PreparedModel {
    try PreparedModel(path: folder, computeDType: dtype, isTrained: isTrained, mesh: mesh)
  }
}

/// `norm(actual - expected) / norm(expected)`.
func relativeDifference(_ actual: Tensor, _ expected: Tensor) -> Double {
  let difference = (actual.to(.float64) - expected.to(.float64)).vectorNorm().item()
  let norm = expected.to(.float64).vectorNorm().item()
  return norm > 1e-6 ? difference / norm : actual.to(.float64).vectorNorm().item()
}

func largestDifference(_ actual: Tensor, _ expected: Tensor) -> Double {
  (actual.to(.float64) - expected.to(.float64)).absolute().maximumValue().item()
}

/// A micro-batch of the rows of `ids` and `labels`, `[B, S]`, each a sample.
func microBatch(ids: Tensor, labels: Tensor) -> MicroBatch {
  var batch = MicroBatch()
  let (rows, length) = (ids.size(0), ids.size(1))
  let tokens = ids.integers().map { Int32($0) }
  let targets = labels.integers().map { Int32($0) }
  for row in 0..<rows {
    let range = row * length..<(row + 1) * length
    batch.append(tokens: tokens[range], labels: targets[range], reduction: .token)
  }
  return batch
}

/// A micro-batch of the samples of a pack that `bounds` marks.
func packedBatch(ids: Tensor, labels: Tensor, bounds: [Int]) -> MicroBatch {
  var batch = MicroBatch()
  let tokens = ids.integers().map { Int32($0) }
  let targets = labels.integers().map { Int32($0) }
  for (start, end) in zip(bounds, bounds.dropFirst()) {
    batch.append(tokens: tokens[start..<end], labels: targets[start..<end], reduction: .token)
  }
  return batch
}
