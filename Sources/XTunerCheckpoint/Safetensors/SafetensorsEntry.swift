/// A tensor of a safetensors file: its name, element type and sizes.
public struct SafetensorsEntry: Sendable, Hashable {
  /// The name in the file.
  public var name: String
  /// The element type.
  public var dataType: SafetensorsDataType
  /// The sizes, outermost first; empty for a scalar.
  public var shape: [Int]

  /// A tensor to be written.
  public init(name: String, dataType: SafetensorsDataType, shape: [Int]) {
    self.name = name
    self.dataType = dataType
    self.shape = shape
  }

  /// Bytes of the tensor; nil where the sizes overflow or do not end on a whole byte.
  public var byteCount: Int? { dataType.byteCount(shape: shape) }

  /// The element type and sizes, for messages: `BF16 [3, 5]`.
  var kind: String { "\(dataType.rawValue) \(shape)" }
}
