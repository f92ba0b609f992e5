extension Tensor {
  /// The sum, broadcasting.
  public static func + (a: Tensor, b: Tensor) -> Tensor { a.adding(b) }
  /// The difference, broadcasting.
  public static func - (a: Tensor, b: Tensor) -> Tensor { a.subtracting(b) }
  /// The element-wise product, broadcasting.
  public static func * (a: Tensor, b: Tensor) -> Tensor { a.multiplied(by: b) }
  /// The element-wise quotient, broadcasting.
  public static func / (a: Tensor, b: Tensor) -> Tensor { a.divided(by: b) }
  /// The product with a number.
  public static func * (a: Tensor, b: Double) -> Tensor { a.scaled(by: .real(b)) }

  /// The tensor in `dtype`; the same tensor when it already is.
  public func to(_ dtype: DType) -> Tensor {
    self.dtype == dtype ? self : toCopy(dtype: dtype)
  }

  /// The tensor on `device`; the same tensor when it already is.
  public func to(_ device: Device) -> Tensor {
    self.device == device ? self : toCopy(dtype: dtype, device: device)
  }
}
