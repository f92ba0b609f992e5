import Torch
import XTunerCheckpoint
import XTunerEngine
import XTunerRun

/// The tokens that `xtuner probe` reads.
struct ProbeInput {
  let path: String
  let rowCount: Int
  let length: Int
  /// Row after row.
  let tokens: [Int64]
  /// As tokens, -100 without a loss; nil when the file has none.
  let labels: [Int64]?

  /// Reads `input_ids` and, where the file has them, `labels`, both `[B, S]` int64.
  init(path: String) throws {
    let file = try SafetensorsFile(path: path)
    let shape = try Self.shape(of: "input_ids", in: file)
    self.path = path
    (rowCount, length) = (shape[0], shape[1])
    tokens = try file.tensor("input_ids").integers()
    guard file.contains("labels") else {
      labels = nil
      return
    }
    guard try Self.shape(of: "labels", in: file) == shape else {
      throw CommandFailure(
        .data,
        "\(path): labels must have the shape \(shape) of input_ids, "
          + "has \(try file.entry("labels").shape)")
    }
    labels = try file.tensor("labels").integers()
  }

  /// Where rows start and end: each is a sample of its own.
  var bounds: [Int] { (0...rowCount).map { $0 * length } }

  /// Refuses ids that the model has no row for.
  func check(vocabularySize: Int) throws {
    try check(tokens, "input_ids", vocabularySize) { _ in false }
    try check(labels ?? [], "labels", vocabularySize) { $0 == -100 }
  }

  /// All rows as samples of one pack.
  func microBatch() throws -> MicroBatch {
    guard let labels else {
      throw CommandFailure(.data, "\(path): --grads needs labels [B,S] int64 beside input_ids")
    }
    var batch = MicroBatch()
    for row in 0..<rowCount {
      let range = bounds[row]..<bounds[row + 1]
      batch.append(
        tokens: tokens[range].map(Int32.init), labels: labels[range].map(Int32.init),
        reduction: .token)
    }
    guard batch.weightSum > 0 else {
      throw CommandFailure(
        .data,
        "\(path): labels: none has a loss: all are -100, or only the first of a row is not")
    }
    return batch
  }

  private func check(
    _ ids: [Int64], _ name: String, _ vocabularySize: Int, isAllowed: (Int64) -> Bool
  ) throws {
    let range = 0..<Int64(vocabularySize)
    guard let index = ids.firstIndex(where: { !range.contains($0) && !isAllowed($0) }) else {
      return
    }
    throw CommandFailure(
      .data,
      """
      \(path): \(name)[\(index / length), \(index % length)] must be below the model's vocabulary \
      of \(vocabularySize)\(name == "labels" ? " or -100" : ""), is \(ids[index])
      """)
  }

  private static func shape(of name: String, in file: SafetensorsFile) throws -> [Int] {
    let entry = try file.entry(name)
    guard entry.shape.count == 2, entry.dataType == .int64, !entry.shape.contains(0) else {
      throw CommandFailure(
        .data,
        """
        \(file.path): \(name) must be int64 [rows, tokens] and not empty, is \
        \(entry.dataType.rawValue) \(entry.shape)
        """)
    }
    return entry.shape
  }
}
