import CTorch

/// The element type of a tensor; raw values are libtorch's `ScalarType` numbers.
public enum DType: Int32, Sendable, CaseIterable {
  case uint8 = 0
  case int8 = 1
  case int16 = 2
  case int32 = 3
  case int64 = 4
  case float16 = 5
  case float32 = 6
  case float64 = 7
  case bool = 11
  case bfloat16 = 15
  case float8e5m2 = 23
  case float8e4m3 = 24
  case uint16 = 27
  case uint32 = 28
  case uint64 = 29

  /// Bytes of one element.
  public var size: Int { Int(ct_dtype_size(rawValue)) }

  /// Whether elements are floating-point numbers.
  public var isFloatingPoint: Bool {
    switch self {
    case .float16, .float32, .float64, .bfloat16, .float8e5m2, .float8e4m3: true
    case .uint8, .int8, .int16, .int32, .int64, .bool, .uint16, .uint32, .uint64: false
    }
  }
}

/// A Swift type whose values are the elements of a tensor of `dtype`.
public protocol TensorElement: BitwiseCopyable {
  /// The dtype with the same memory layout.
  static var dtype: DType { get }
}

extension UInt8: TensorElement {
  /// `.uint8`.
  public static var dtype: DType { .uint8 }
}
extension Int8: TensorElement {
  /// `.int8`.
  public static var dtype: DType { .int8 }
}
extension Int16: TensorElement {
  /// `.int16`.
  public static var dtype: DType { .int16 }
}
extension Int32: TensorElement {
  /// `.int32`.
  public static var dtype: DType { .int32 }
}
extension Int64: TensorElement {
  /// `.int64`.
  public static var dtype: DType { .int64 }
}
extension Float: TensorElement {
  /// `.float32`.
  public static var dtype: DType { .float32 }
}
extension Double: TensorElement {
  /// `.float64`.
  public static var dtype: DType { .float64 }
}
extension Bool: TensorElement {
  /// `.bool`.
  public static var dtype: DType { .bool }
}

/// A number passed to an operator.
public enum Scalar: Sendable, Hashable, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral {
  case integer(Int)
  case real(Double)

  /// An integer.
  public init(integerLiteral value: Int) { self = .integer(value) }
  /// A real number.
  public init(floatLiteral value: Double) { self = .real(value) }

  var raw: CTScalar {
    switch self {
    case .integer(let value): CTScalar(is_integer: true, integer: Int64(value), real: Double(value))
    case .real(let value): CTScalar(is_integer: false, integer: 0, real: value)
    }
  }
}

/// Where a tensor lives.
public struct Device: Sendable, Hashable, CustomStringConvertible {
  /// The kind of device; raw values are libtorch's `DeviceType` numbers.
  public enum Kind: Int8, Sendable {
    case cpu = 0
    case cuda = 1
    /// Ascend: the kind that libtorch leaves to back ends outside of it.
    case privateUse = 20
  }

  /// The kind of device.
  public var kind: Kind
  /// The index among devices of this kind, -1 for the current one.
  public var index: Int8

  /// A device of a kind; an index of -1 is the current one.
  public init(kind: Kind, index: Int8) {
    self.kind = kind
    self.index = index
  }

  /// Host memory.
  public static let cpu = Device(kind: .cpu, index: -1)

  var raw: CTDevice { CTDevice(type: kind.rawValue, index: index) }

  /// As libtorch and its back ends write it, such as `cuda:0`.
  public var description: String {
    let name =
      switch kind {
      case .cpu: "cpu"
      case .cuda: "cuda"
      case .privateUse: "npu"
      }
    return index < 0 ? name : "\(name):\(index)"
  }
}
