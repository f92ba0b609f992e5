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
    try tensor.withHostBytes { bytes throws(CheckpointError) in try write(bytes, for: name) }
  }
}

extension HFCheckpointWriter {
  /// Writes the elements of `tensor`, row-major, as the next tensor.
  public func write(_ tensor: Tensor, for name: String) throws(CheckpointError) {
    try tensor.withHostBytes { bytes throws(CheckpointError) in try write(bytes, for: name) }
  }
}

extension Tensor {
  /// Calls `body` with the elements, row-major and on the host.
  fileprivate func withHostBytes(
    _ body: (UnsafeRawBufferPointer) throws(CheckpointError) -> Void
  ) throws(CheckpointError) {
    let result = detached().to(.cpu).contiguous().withMutableBytes { bytes in
      Result { () throws(CheckpointError) in try body(UnsafeRawBufferPointer(bytes)) }
    }
    try result.get()
  }
}

extension SafetensorsDataType {
  /// The tensor dtype with the same layout, or nil for types that no tensor has.
  public var tensorDType: DType? { DType.allCases.first { $0.safetensorsType == self } }
}

extension DType {
  /// The type's name in safetensors files.
  public var safetensorsType: SafetensorsDataType {
    switch self {
    case .bool: .boolean
    case .uint8: .uint8
    case .int8: .int8
    case .uint16: .uint16
    case .int16: .int16
    case .uint32: .uint32
    case .int32: .int32
    case .uint64: .uint64
    case .int64: .int64
    case .float16: .float16
    case .bfloat16: .bfloat16
    case .float32: .float32
    case .float64: .float64
    case .float8e4m3: .float8E4M3
    case .float8e5m2: .float8E5M2
    }
  }
}

extension Tensor {
  /// Elements that are looked at at once: the most that is in memory beside the weights.
  package static let bucketCount = 1 << 22

  /// Whether no element is a NaN or an infinity, for flat tensors of any floating-point type.
  package func hasOnlyFiniteElements() -> Bool {
    for start in stride(from: 0, to: elementCount, by: Self.bucketCount) {
      let part = narrowed(
        dim: 0, start: start, length: min(Self.bucketCount, elementCount - start))
      guard part.isFiniteMask().allTrue().item() != 0 else { return false }
    }
    return true
  }
}
