import Foundation
import Testing
import Torch

/// Values and gradients that another implementation computed in float64.
///
/// `Tests/Reference/make_reference.py` writes the file.
struct ReferenceFile {
  private var header: [String: Entry] = [:]
  private var data = Data()

  private struct Entry: Decodable {
    var dtype: String
    var shape: [Int]
    var data_offsets: [Int]
  }

  init() throws {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent()
    let file = try Data(
      contentsOf: tests.appendingPathComponent("Fixtures/reference/ops/ops.safetensors"))
    let length = file.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
    header = try JSONDecoder().decode([String: Entry].self, from: file[8..<8 + length])
    data = Data(file[(8 + length)...])
  }

  /// The tensor `name`; an error if the file has none.
  func callAsFunction(_ name: String) throws -> Tensor {
    let entry = try #require(header[name], "\(name) is not in the file")
    let dtypes: [String: DType] = ["F32": .float32, "I64": .int64, "I32": .int32]
    let dtype = try #require(dtypes[entry.dtype])
    let range = entry.data_offsets[0]..<entry.data_offsets[1]
    return Array(data[range]).withUnsafeBytes {
      Tensor(bytes: $0, shape: entry.shape, dtype: dtype)
    }
  }

  /// Expects `body`'s value and gradients of `inputs` to be those in the file under `prefix`.
  func expect(
    _ prefix: String, inputs: [String], absolute: Double = 1e-5, relative: Double = 1e-5,
    _ body: ([Tensor]) -> Tensor
  ) throws {
    let leaves = try inputs.map { try self("\(prefix).\($0)").leaf() }
    let value = body(leaves)
    try expectClose(
      value, self("\(prefix).y"), absolute: absolute, relative: relative, "\(prefix).y")
    let seed = try self("\(prefix).dy")
    let slopes = gradients(of: [value], withRespectTo: leaves, outputGradients: [seed])
    for (name, slope) in zip(inputs, slopes) {
      let expected = try self("\(prefix).d\(name)")
      try expectClose(
        #require(slope), expected, absolute: absolute, relative: relative, "\(prefix).d\(name)")
    }
  }
}

@Suite struct ReferenceValueTests {
  let file: ReferenceFile

  init() throws { file = try ReferenceFile() }

  @Test(arguments: [Implementation.kernel, .reference])
  func rmsNorm(implementation: Implementation) throws {
    // The tiny rows are of the size of epsilon's root: their gradients are large.
    for (name, absolute) in [("rms_norm", 1e-5), ("rms_norm_tiny", 2e-3)] {
      try file.expect(name, inputs: ["x", "w"], absolute: absolute) {
        $0[0].rmsNorm(weight: $0[1], epsilon: 1e-6, implementation: implementation)
      }
    }
  }

  @Test(arguments: [Implementation.kernel, .reference])
  func swiGLU(implementation: Implementation) throws {
    try file.expect("swiglu", inputs: ["gate", "up"]) {
      Tensor.concatenated($0, dim: 1).swiGLU(implementation: implementation)
    }
  }

  @Test(arguments: [Implementation.kernel, .reference])
  func rotary(implementation: Implementation) throws {
    let (cosine, sine) = try (file("rope.cos"), file("rope.sin"))
    try file.expect("rope", inputs: ["x"]) {
      $0[0].rotated(cosine: cosine, sine: sine, implementation: implementation)
    }
  }

  @Test(arguments: [Implementation.kernel, .reference])
  func attention(implementation: Implementation) throws {
    let bounds = try file("attention.offsets").to(.int64)
    try file.expect("attention", inputs: ["q", "k", "v"]) {
      Tensor.varlenAttention(
        query: $0[0], key: $0[1], value: $0[2], bounds: bounds, scale: 1 / 14.0.squareRoot(),
        implementation: implementation)
    }
  }

  @Test(arguments: [Implementation.kernel, .reference])
  func experts(implementation: Implementation) throws {
    let ids = try file("experts.ids").integers().map { Int($0) }
    let slots = 2
    // Slots in the order of their experts; the slots of one expert stay in order.
    let order = ids.indices.sorted { (ids[$0], $0) < (ids[$1], $1) }
    var rowOfSlot = [Int64](repeating: 0, count: ids.count)
    for (row, slot) in order.enumerated() { rowOfSlot[slot] = Int64(row) }
    let rows = Tensor(rowOfSlot, shape: [ids.count / slots, slots])
    let tokens = Tensor(order.map { Int64($0 / slots) })
    let ends = Tensor((0..<7).map { expert in Int64(ids.count { $0 <= expert }) })
    try file.expect("experts", inputs: ["x", "weights", "gate_up", "down"]) { inputs in
      inputs[0]
        .permutedRows(tokenOfRow: tokens, rowOfSlot: rows, implementation: implementation)
        .groupedLinear(weight: inputs[2], offsets: ends, implementation: implementation)
        .swiGLU(implementation: implementation)
        .groupedLinear(weight: inputs[3], offsets: ends, implementation: implementation)
        .unpermutedRows(weights: inputs[1], rowOfSlot: rows, implementation: implementation)
    }
  }

  @Test func adamW() throws {
    let weight = try file("adamw.p0")
    let (first, second) = (weight.zerosLike(), weight.zerosLike())
    for (index, rate) in try file("adamw.learning_rate").floats().enumerated() {
      let step = index + 1
      Tensor.adamW(
        master: weight, gradient: try file("adamw.grad\(step)"), firstMoment: first,
        secondMoment: second, learningRate: Double(rate), beta1: 0.9, beta2: 0.95, epsilon: 1e-8,
        weightDecay: 0.1, step: step)
      for (name, tensor) in [("p", weight), ("m", first), ("v", second)] {
        let expected = try file("adamw.\(name)\(step)")
        expectClose(tensor, expected, absolute: 1e-7, relative: 2e-6, "\(name) after step \(step)")
      }
    }
  }
}
