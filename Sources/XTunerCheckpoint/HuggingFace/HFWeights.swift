public import Torch
public import XTunerModels
import XTunerNN
public import XTunerParallel
import XTunerText

/// Weights of a Hugging Face folder, read into and written from a model's parameters.
public enum HFWeights {
  /// Copies of every tensor of `folder` what this rank keeps of it.
  ///
  /// Names and shapes are compared first, and all differences are in one error; nothing is copied
  /// then. Matrices in float8 blocks are multiplied by their scales. A tensor with a NaN or an infinity is refused, named. Files are mapped, and only the
  /// pages of this rank's part are read.
  public static func load(
    _ folder: HFCheckpointFolder, into model: LanguageModel, units: ModelUnits
  ) throws(CheckpointError) {
    let (names, blocks) = try checked(folder, model)
    for (entry, parameter) in names.placed(in: model) {
      let elements = try blocks.reader(of: entry.name, in: folder)
      let unit = units.unit(of: parameter)
      let isFinite = withoutGradients {
        copy(elements, entry.elementRange, of: parameter, to: unit)
      }
      guard isFinite else {
        throw CheckpointError(
          .mismatch, path: folder.path, "tensor \(entry.name) holds a NaN or an infinity")
      }
    }
    units.publish()
  }

  /// Compares names, shapes and types of a folder's tensors with those of a model; reads no weights.
  ///
  /// - Throws: All differences of names and shapes in one error.
  public static func check(
    _ folder: HFCheckpointFolder, _ configuration: ModelConfiguration
  ) throws(CheckpointError) {
    _ = try checked(folder, configuration.makeModel())
  }

  private static func checked(
    _ folder: HFCheckpointFolder, _ model: LanguageModel
  ) throws(CheckpointError) -> (names: WeightMap, blocks: Float8Blocks) {
    var names = WeightMap(model)
    if let embedding = names.embeddingName, let head = names.tiedHeadName,
      !folder.contains(embedding), folder.contains(head)
    {
      names = names.withEmbeddingUnderHeadName()
    }
    let blocks = try Float8Blocks(folder, model.configuration)
    let mismatch = names.mismatch(
      with: folder.entries.filter { !blocks.scaleNames.contains($0.name) }
        .map { ($0.name, $0.shape) })
    guard mismatch.isEmpty else {
      throw CheckpointError(
        .mismatch, path: folder.path,
        "does not fit config.json: " + mismatch.messages.joined(separator: "; "))
    }
    for entry in names.entries {
      let type = try folder.file(of: entry.name).entry(entry.name).dataType
      guard type.tensorDType?.isFloatingPoint == true else {
        throw CheckpointError(
          .mismatch, path: folder.path,
          "tensor \(entry.name) has elements of \(type.rawValue); weights must be floating-point")
      }
    }
    return (names, blocks)
  }

  /// Copies the own part of a range of a parameter; false where an element of it is not finite.
  ///
  /// `elements` counts from the start of the range.
  private static func copy(
    _ elements: (Range<Int>) -> Tensor, _ range: Range<Int>, of parameter: Parameter,
    to unit: FlatUnit
  ) -> Bool {
    for run in unit.ownRuns(of: parameter).clamped(toGlobal: range) {
      var position = run.global
      while position < run.global + run.count {
        let count = min(Tensor.bucketCount, run.global + run.count - position)
        let start = position - range.lowerBound
        let bucket = elements(start..<start + count)
        guard bucket.isFiniteMask().allTrue().item() != 0 else { return false }
        unit.weights.narrowed(dim: 0, start: run.local + position - run.global, length: count)
          .copy(from: bucket)
        position += count
      }
    }
    return true
  }

  /// The tensors of a file, in its order, each put together out of all ranks' parts when it is made.
  ///
  /// `part` gives what they are made of, the weights unless told otherwise: a unit's gradient, say.
  public static func tensors(
    of model: LanguageModel, units: ModelUnits, dtype: DType,
    part: @escaping (FlatUnit) -> Tensor = { $0.weights }
  ) -> [(name: String, shape: [Int], make: () throws -> Tensor)] {
    WeightMap(model).placed(in: model).map { entry, parameter in
      (
        entry.name, entry.shape,
        {
          let start = entry.elementOffset
          return try units.assembled(
            parameter, elements: start..<start + entry.elementCount, dtype: dtype, of: part
          ).view(entry.shape)
        }
      )
    }
  }

  /// Writes a folder that transformers loads: weights in shards, index, `config.json` and `files`.
  ///
  /// The weights are written in `dtype`; in float8e4m3, matrices that layers multiply with are written
  /// in blocks of 128 x 128 with their scales, and the others in bfloat16. `files` are further files
  /// by name, such as the tokenizer's. All ranks of the units' mesh take part, one tensor after
  /// another; rank 0 writes. What it throws while it writes is known to it alone: callers exchange it.
  public static func export(
    _ model: LanguageModel, units: ModelUnits, to path: String, dtype: DType,
    overwrites: Bool = false,
    maximumShardByteCount: Int = HFCheckpointWriter.defaultShardByteCount,
    files: [(name: String, bytes: [UInt8])] = []
  ) throws {
    let items = ExportItem.all(of: model, units: units, dtype: dtype)
    guard units.mesh.rank == 0 else {
      for item in items { _ = try withoutGradients { try item.make() } }
      return
    }
    var made = 0
    do {
      try write(
        model, items, to: path, dtype: dtype, overwrites: overwrites,
        maximumShardByteCount: maximumShardByteCount, files: files, made: &made)
    } catch let error where !(error is CommunicationError) {
      // The others wait for this rank in every tensor; what cannot be written is put together still.
      for item in items.dropFirst(made) { _ = try withoutGradients { try item.make() } }
      throw error
    }
  }

  private static func write(
    _ model: LanguageModel, _ items: [ExportItem], to path: String, dtype: DType,
    overwrites: Bool, maximumShardByteCount: Int, files: [(name: String, bytes: [UInt8])],
    made: inout Int
  ) throws {
    var configuration = model.configuration
    configuration.hasFloat8Blocks = dtype == .float8e4m3
    configuration.weightType = (dtype == .float8e4m3 ? .bfloat16 : dtype).configurationName
    let writer = try HFCheckpointWriter(
      path: path, entries: items.flatMap(\.entries),
      maximumShardByteCount: maximumShardByteCount, overwrites: overwrites)
    try writer.write(try configuration.configurationText().utf8, toFile: "config.json")
    for file in files { try writer.write(file.bytes, toFile: file.name) }
    for item in items {
      let tensors = try withoutGradients { try item.make() }
      made += 1
      for (entry, tensor) in zip(item.entries, tensors) {
        try writer.write(tensor, for: entry.name)
      }
    }
    try writer.finish()
  }
}

extension DType {
  /// The name in `config.json`, such as `bfloat16`.
  public var configurationName: String {
    switch self {
    case .float32: "float32"
    case .float16: "float16"
    case .bfloat16: "bfloat16"
    default: "\(self)"
    }
  }
}
