public import Torch

extension SafetensorsFile {
  /// The named tensor as a view of the mapped file, which it keeps alive; it must not be written to.
  ///
  /// A tensor whose bytes are not aligned for its type is copied.
  public func tensor(_ name: String) throws(CheckpointError) -> Tensor {
    let entry = try entry(name)
    guard let dtype = entry.dataType.tensorDType else {
      throw CheckpointError(
        .mismatch, path: path,
        "tensor \(name): no tensor has the element type \(entry.dataType.rawValue)")
    }
    let bytes = try bytes(of: name)
    if try isAligned(name) {
      return Tensor(borrowing: bytes, shape: entry.shape, dtype: dtype, owner: self)
    }
    return Tensor(bytes: bytes, shape: entry.shape, dtype: dtype)
  }

  /// Writes `tensors` in the given order as one safetensors file, whole or not at all.
  public static func write(
    _ tensors: [(name: String, tensor: Tensor)], to path: String
  ) throws(CheckpointError) {
    let entries = tensors.map { pair in
      SafetensorsEntry(
        name: pair.name, dataType: pair.tensor.dtype.safetensorsType, shape: pair.tensor.shape)
    }
    let writer = try SafetensorsWriter(path: path, entries: entries)
    for (name, tensor) in tensors { try writer.write(tensor, for: name) }
    try writer.finish()
  }
}

extension SafetensorsWriter {
  /// Writes the elements of `tensor`, row-major, as the next tensor.
  public func write(_ tensor: Tensor, for name: String) throws(CheckpointError) {
    let result = tensor.detached().to(.cpu).contiguous().withMutableBytes { bytes in
      Result { () throws(CheckpointError) in try write(UnsafeRawBufferPointer(bytes), for: name) }
    }
    try result.get()
  }
}

extension HFCheckpointWriter {
  /// Writes the elements of `tensor`, row-major, as the next tensor.
  public func write(_ tensor: Tensor, for name: String) throws(CheckpointError) {
    let result = tensor.detached().to(.cpu).contiguous().withMutableBytes { bytes in
      Result { () throws(CheckpointError) in try write(UnsafeRawBufferPointer(bytes), for: name) }
    }
    try result.get()
  }
}
