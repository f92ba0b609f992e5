public import Torch
public import XTunerModels
public import XTunerNN

/// Weights of a Hugging Face folder, read into and written from a model's parameters.
public enum HFWeights {
  /// Copies every tensor of `folder` to its place.
  ///
  /// Names and shapes are compared first, and all differences are in one error; nothing is copied
  /// then. A tensor with a NaN or an infinity is refused, named.
  ///
  /// `destination` gives where a parameter's weights are written, a view of its shape.
  public static func load(
    _ folder: HFCheckpointFolder, into model: CausalLanguageModel,
    destination: (Parameter) -> Tensor
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
      let isFinite = withoutGradients { () -> Bool in
        let source = tensor.to(.float32)
        guard source.isFiniteMask().allTrue().item() != 0 else { return false }
        let flat = destination(parameter).view([-1])
        flat.narrowed(dim: 0, start: entry.elementOffset, length: entry.elementCount)
          .copy(from: source.reshaped([-1]))
        return true
      }
      guard isFinite else {
        throw CheckpointError(
          .mismatch, path: folder.path, "tensor \(entry.name) holds a NaN or an infinity")
      }
    }
  }

  /// The tensors of a file with where each comes from, in file order.
  public static func tensors(
    of model: CausalLanguageModel, source: @escaping (Parameter) -> Tensor
  ) -> [(name: String, shape: [Int], make: () -> Tensor)] {
    let parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
    return HFTensorNames(model.configuration).entries.map { entry in
      guard let parameter = parameters[entry.parameter] else {
        preconditionFailure("HFTensorNames has \(entry.parameter), the model has not")
      }
      return (
        entry.name, entry.shape,
        {
          source(parameter).reshaped([-1])
            .narrowed(dim: 0, start: entry.elementOffset, length: entry.elementCount)
            .view(entry.shape)
        }
      )
    }
  }

  /// Writes a folder that transformers loads: weights in shards, index, `config.json` and `files`.
  ///
  /// The weights are written in `dtype`; `source` gives a parameter's weights, of its shape, and
  /// `files` are further files by name, such as the tokenizer's.
  public static func export(
    _ model: CausalLanguageModel, to path: String, dtype: DType, overwrites: Bool = false,
    maximumShardByteCount: Int = HFCheckpointWriter.defaultShardByteCount,
    files: [(name: String, bytes: [UInt8])] = [], source: @escaping (Parameter) -> Tensor
  ) throws {
    var configuration = model.configuration
    configuration.weightType = dtype.configurationName
    let tensors = tensors(of: model, source: source)
    let writer = try HFCheckpointWriter(
      path: path,
      entries: tensors.map {
        SafetensorsEntry(name: $0.name, dataType: dtype.safetensorsType, shape: $0.shape)
      }, maximumShardByteCount: maximumShardByteCount, overwrites: overwrites)
    try writer.write(try configuration.configurationText().utf8, toFile: "config.json")
    for file in files { try writer.write(file.bytes, toFile: file.name) }
    for tensor in tensors {
      try withoutGradients { try writer.write(tensor.make().to(dtype), for: tensor.name) }
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
