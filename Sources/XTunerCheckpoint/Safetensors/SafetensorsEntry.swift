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

/// Element type of a tensor in a safetensors file, by its name in the format.
public enum SafetensorsDataType: String, Sendable, Hashable, CaseIterable, Codable {
  case boolean = "BOOL"
  case uint8 = "U8"
  case int8 = "I8"
  case uint16 = "U16"
  case int16 = "I16"
  case uint32 = "U32"
  case int32 = "I32"
  case uint64 = "U64"
  case int64 = "I64"
  case float16 = "F16"
  case bfloat16 = "BF16"
  case float32 = "F32"
  case float64 = "F64"
  case float8E4M3 = "F8_E4M3"
  case float8E5M2 = "F8_E5M2"
  case float8E8M0 = "F8_E8M0"
  case float4 = "F4"

  /// Bits of one element.
  public var bitCount: Int {
    switch self {
    case .float4: 4
    case .boolean, .uint8, .int8, .float8E4M3, .float8E5M2, .float8E8M0: 8
    case .uint16, .int16, .float16, .bfloat16: 16
    case .uint32, .int32, .float32: 32
    case .uint64, .int64, .float64: 64
    }
  }

  /// Bytes of a tensor of this type; nil where it overflows or does not end on a whole byte.
  public func byteCount(shape: [Int]) -> Int? {
    var bits = bitCount
    for size in shape {
      guard size >= 0 else { return nil }
      let (product, overflow) = bits.multipliedReportingOverflow(by: size)
      // A zero further on would hide an overflow here; no real shape has both.
      guard !overflow else { return nil }
      bits = product
    }
    return bits.isMultiple(of: 8) ? bits / 8 : nil
  }
}
