public import Torch

extension SafetensorsDataType {
  /// The tensor dtype with the same layout, or nil for types that no tensor has.
  public var tensorDType: DType? {
    switch self {
    case .boolean: .bool
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
    case .float8E4M3: .float8e4m3
    case .float8E5M2: .float8e5m2
    case .float8E8M0, .float4: nil
    }
  }
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
