public import Torch
public import XTunerModels
import XTunerNN
public import XTunerParallel

/// Weights of a Hugging Face folder, read into and written from a model's parameters.
public enum HFWeights {
  /// Elements that are converted at once: the most that is in memory beside the weights.
  static let bucketCount = 1 << 22

  /// Copies of every tensor of `folder` what this rank keeps of it.
  ///
  /// Names and shapes are compared first, and all differences are in one error; nothing is copied
  /// then. A tensor with a NaN or an infinity is refused, named. Files are mapped, and only the
  /// pages of this rank's part are read.
  public static func load(
    _ folder: HFCheckpointFolder, into model: CausalLanguageModel, units: ModelUnits
  ) throws(CheckpointError) {
    let names = HFTensorNames(model.configuration)
    let mismatch = names.mismatch(with: folder.entries.map { ($0.name, $0.shape) })
    guard mismatch.isEmpty else {
      throw CheckpointError(
        .mismatch, path: folder.path,
        "does not fit config.json: " + mismatch.messages.joined(separator: "; "))
    }
    let parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
    for entry in names.entries {
      guard let parameter = parameters[entry.parameter] else {
        preconditionFailure("HFTensorNames has \(entry.parameter), the model has not")
      }
      let tensor = try folder.file(of: entry.name).tensor(entry.name)
      guard tensor.dtype.isFloatingPoint else {
        throw CheckpointError(
          .mismatch, path: folder.path,
          "tensor \(entry.name) has elements of \(tensor.dtype); weights must be floating-point")
      }
      let unit = units.unit(of: parameter)
      let isFinite = withoutGradients {
        copy(tensor.reshaped([-1]), at: entry.elementOffset, of: parameter, to: unit)
      }
      guard isFinite else {
        throw CheckpointError(
          .mismatch, path: folder.path, "tensor \(entry.name) holds a NaN or an infinity")
      }
    }
    units.publish()
  }

  /// Copies the own part of consecutive elements; false where one of them is not finite.
  private static func copy(
    _ source: Tensor, at start: Int, of parameter: Parameter, to unit: FlatUnit
  ) -> Bool {
    let range = start..<start + source.elementCount
    for run in unit.ownRuns(of: parameter).clamped(toGlobal: range) {
      var position = run.global
      while position < run.global + run.count {
        let count = min(bucketCount, run.global + run.count - position)
        let bucket = source.narrowed(dim: 0, start: position - start, length: count).to(.float32)
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
    of model: CausalLanguageModel, units: ModelUnits, dtype: DType,
    part: @escaping (FlatUnit) -> Tensor = { $0.weights }
  ) -> [(name: String, shape: [Int], make: () throws -> Tensor)] {
    let parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
    return HFTensorNames(model.configuration).entries.map { entry in
      guard let parameter = parameters[entry.parameter] else {
        preconditionFailure("HFTensorNames has \(entry.parameter), the model has not")
      }
      return (
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
  /// The weights are written in `dtype`; `files` are further files by name, such as the tokenizer's.
  /// All ranks of the units' mesh take part, one tensor after another; rank 0 writes.
  public static func export(
    _ model: CausalLanguageModel, units: ModelUnits, to path: String, dtype: DType,
    overwrites: Bool = false,
    maximumShardByteCount: Int = HFCheckpointWriter.defaultShardByteCount,
    files: [(name: String, bytes: [UInt8])] = []
  ) throws {
    let tensors = tensors(of: model, units: units, dtype: dtype)
    guard units.mesh.rank == 0 else {
      for tensor in tensors { _ = try withoutGradients { try tensor.make() } }
      return
    }
    var made = 0
    do {
      try write(
        model, tensors, to: path, dtype: dtype, overwrites: overwrites,
        maximumShardByteCount: maximumShardByteCount, files: files, made: &made)
    } catch let error as CheckpointError {
      // The others wait for this rank in every tensor; what cannot be written is put together still.
      for tensor in tensors.dropFirst(made) { _ = try withoutGradients { try tensor.make() } }
      throw error
    }
  }

  private static func write(
    _ model: CausalLanguageModel,
    _ tensors: [(name: String, shape: [Int], make: () throws -> Tensor)], to path: String,
    dtype: DType, overwrites: Bool, maximumShardByteCount: Int,
    files: [(name: String, bytes: [UInt8])], made: inout Int
  ) throws {
    var configuration = model.configuration
    configuration.weightType = dtype.configurationName
    let writer = try HFCheckpointWriter(
      path: path,
      entries: tensors.map {
        SafetensorsEntry(name: $0.name, dataType: dtype.safetensorsType, shape: $0.shape)
      }, maximumShardByteCount: maximumShardByteCount, overwrites: overwrites)
    try writer.write(try configuration.configurationText().utf8, toFile: "config.json")
    for file in files { try writer.write(file.bytes, toFile: file.name) }
    for tensor in tensors {
      let whole = try withoutGradients { try tensor.make() }
      made += 1
      try writer.write(whole, for: tensor.name)
    }
    try writer.finish()
  }
}

extension DType {
  /// The name in `config.json`, such as `bfloat16`.
  var configurationName: String {
    switch self {
    case .float32: "float32"
    case .float16: "float16"
    case .bfloat16: "bfloat16"
    default: "\(self)"
    }
  }
}
