public import XTunerText

/// A safetensors file, mapped into memory and checked as a whole when opened.
///
/// Tensors are not copied: `withBytes` gives the mapped bytes, and `bytes(of:)` a pointer that is
/// valid while this object is alive, for tensors that point into the file and keep it as owner.
public final class SafetensorsFile: Sendable {
  private let file: MappedFile
  private let header: SafetensorsHeader
  private let indices: [ExactText: Int]

  /// Opens a file.
  ///
  /// - Throws: `CheckpointError` where the file cannot be read, or where anything in it is not as
  ///   the format demands: the header's length and JSON, names, types, shapes, offsets, and that
  ///   the tensors fill the file without gap, overlap, truncation or tail.
  public init(path: String) throws(CheckpointError) {
    let file = try MappedFile(path: path)
    let header = try file.withBytes { bytes throws(CheckpointError) in
      try SafetensorsHeader(parsing: bytes, path: path)
    }
    var indices: [ExactText: Int] = [:]
    for (index, placement) in header.placements.enumerated() {
      indices[placement.entry.name] = index
    }
    self.file = file
    self.header = header
    self.indices = indices
  }

  /// The path it was opened under.
  public var path: String { file.path }

  /// Its size in bytes.
  public var byteCount: Int { file.byteCount }

  /// The tensors in the order of their data.
  public var entries: [SafetensorsEntry] { header.placements.map(\.entry) }

  /// The tensors' names in the order of their data.
  public var names: [String] { header.placements.map(\.entry.name) }

  /// Free text pairs of the file, such as `format: pt`.
  public var metadata: [ExactText: String] { header.metadata }

  /// Whether the file has a tensor of a name.
  public func contains(_ name: String) -> Bool { indices[name] != nil }

  /// The type, sizes and place of a tensor.
  ///
  /// - Returns: the entry, and the tensor's bytes counted from the start of the file.
  /// - Throws: `CheckpointError` where there is no such tensor.
  public func entry(_ name: String) throws(CheckpointError) -> (
    dataType: SafetensorsDataType, shape: [Int], byteRange: Range<Int>
  ) {
    let placement = try placement(name)
    return (placement.entry.dataType, placement.entry.shape, placement.byteRange)
  }

  /// Calls a closure with the bytes of a tensor.
  ///
  /// The bytes are aligned for their type only where `isAligned(_:)` says so.
  public func withBytes<Result>(
    of name: String, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) throws -> Result {
    let range = try placement(name).byteRange
    return try file.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
  }

  /// The bytes of a tensor, valid while this object is alive.
  ///
  /// Whoever keeps the pointer keeps the object, since Swift may release it after its last use
  /// by name; the mapping is read only.
  ///
  /// - Throws: `CheckpointError` where there is no such tensor.
  public func bytes(of name: String) throws(CheckpointError) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file.bytes[try placement(name).byteRange])
  }

  /// Whether a tensor starts at a multiple of its element size, so that it may be used in place.
  public func isAligned(_ name: String) throws(CheckpointError) -> Bool {
    let placement = try placement(name)
    let size = max(placement.entry.dataType.bitCount / 8, 1)
    return placement.byteRange.lowerBound.isMultiple(of: size)
  }

  /// Asks the system to read a tensor ahead of its use; a hint without result.
  public func prefetch(_ name: String) throws(CheckpointError) {
    file.prefetch(try placement(name).byteRange)
  }

  private func placement(
    _ name: String
  ) throws(CheckpointError) -> SafetensorsHeader.Placement {
    guard let index = indices[name] else {
      throw CheckpointError(.missing, path: path, "has no tensor \(name)")
    }
    return header.placements[index]
  }
}
